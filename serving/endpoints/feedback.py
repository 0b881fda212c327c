"""`POST /feedback`: the true label of a logged prediction."""

from serving.errors import InvalidRequestError
from serving.http.auth import ApiKeys
from serving.http.request import Request
from serving.http.response import Response, json_response
from serving.http.router import Route
from serving.inference_log.log import InferenceLog
from serving.inference_log.store import Feedback
from serving.protocol.json_fields import parse_json

MAX_BYTES = 4096
RECEIVE_SECONDS = 10.0
KEYS = frozenset({"id", "class_name", "number"})


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
    number = tree.get("number", 0)
    if not isinstance(tree["id"], str) or not isinstance(tree["class_name"], str) or type(number) is not int:
        raise InvalidRequestError("id and class_name must be strings, number an integer")
    return Feedback(tree["id"], number, tree["class_name"])
