"""The endpoint for what it really was: feedback on an answer, by the answer's id."""

from typing import Any

import orjson

from serving.errors import InvalidRequestError
from serving.http.request import Request
from serving.http.router import Response, Route, json_response
from serving.inference_log.log import InferenceLog
from serving.inference_log.store import Feedback

MAX_BYTES = 4096
SECONDS = 10.0
KEYS = frozenset({"id", "class_name", "number"})


class FeedbackEndpoint:
    """Endpoint /feedback."""

    def __init__(self, inference_log: InferenceLog) -> None:
        self._log = inference_log

    def routes(self) -> list[Route]:
        return [Route("POST", "/feedback", self.take)]

    async def take(self, request: Request) -> Response:
        feedback = parse_feedback(await request.body(MAX_BYTES, SECONDS))
        await self._log.record_feedback(feedback)
        return json_response({"id": feedback.id, "number": feedback.number, "class_name": feedback.class_name})


def parse_feedback(body: bytes) -> Feedback:
    """Read `{"id": ..., "class_name": ..., "number": 0}`; the number, of a picture in the request, may be left out.

    Raises:
        InvalidRequestError: says what is not as it should be.
    """
    try:
        tree: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"the body is not valid JSON: {error.msg} (at character {error.pos})") from None
    if not isinstance(tree, dict) or not {"id", "class_name"} <= tree.keys() <= KEYS:
        raise InvalidRequestError("feedback is an object of id, class_name and, for one of several pictures, number")
    number = tree.get("number", 0)
    if not isinstance(tree["id"], str) or not isinstance(tree["class_name"], str) or type(number) is not int:
        raise InvalidRequestError("id and class_name have to be strings, number a whole number")
    return Feedback(tree["id"], number, tree["class_name"])
