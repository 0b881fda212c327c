"""`POST /feedback`: the true label of a logged prediction."""

from collections.abc import Mapping
from typing import Any

from serving.errors import InvalidRequestError
from serving.http.auth import ApiKeys
from serving.http.request import Request
from serving.http.response import Response, json_response
from serving.http.router import Route
from serving.inference_log.log import InferenceLog
from serving.inference_log.store import Feedback
from serving.protocol.json_fields import parse_json

# Of a report, and of a decision about one.
MAX_BYTES = 4096
RECEIVE_SECONDS = 10.0
KEYS = frozenset({"id", "class_name", "number"})
MAX_ID_LENGTH = 128


class FeedbackEndpoint:
    """Endpoint /feedback.

    Args:
        inference_log: stores the feedback.
        api_keys: name the source of the feedback.
    """

    def __init__(self, inference_log: InferenceLog, api_keys: ApiKeys) -> None:
        self._log = inference_log
        self._api_keys = api_keys

    def routes(self) -> list[Route]:
        return [Route("POST", "/feedback", self.record)]

    async def record(self, request: Request) -> Response:
        feedback = parse_feedback(await request.body(MAX_BYTES, RECEIVE_SECONDS))
        await self._log.record_feedback(feedback, self._api_keys.source(request.header(b"authorization")))
        return json_response({"id": feedback.id, "number": feedback.number, "class_name": feedback.class_name})


def parse_feedback(body: bytes) -> Feedback:
    """Parse `{"id": ..., "class_name": ..., "number": 0}`. `number` is the index of an image in its request.

    Raises:
        InvalidRequestError: the body is not such an object.
    """
    tree = parse_json(body)
    if not isinstance(tree, dict) or not {"id", "class_name"} <= tree.keys() <= KEYS:
        raise InvalidRequestError("feedback is an object with id, class_name and, for one of several images, number")
    request_id, number = logged_image(tree)
    return Feedback(request_id, number, tree["class_name"])


def logged_image(tree: Mapping[str, Any]) -> tuple[str, int]:
    """Return the ID of a request and the index of its image, which the fields `id` and `number` name.

    Raises:
        InvalidRequestError: they, or `class_name`, are of other types, or no logged image can have them.
    """
    request_id, number = tree["id"], tree.get("number", 0)
    if not isinstance(request_id, str) or not isinstance(tree["class_name"], str) or type(number) is not int:
        raise InvalidRequestError("id and class_name must be strings, number an integer")
    if len(request_id) > MAX_ID_LENGTH or not request_id.isprintable():
        raise InvalidRequestError("id must be the ID of a request, as in its X-Request-Id")
    if not 0 <= number < 2**31:
        raise InvalidRequestError("number must be the index of an image")
    return request_id, number
