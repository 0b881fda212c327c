"""`/feedback/reviews`: reports that wait for a person, and the decisions of one who has an admin key."""

import math

from serving.endpoints.feedback import MAX_BYTES, RECEIVE_SECONDS, logged_image
from serving.errors import InvalidRequestError
from serving.http.auth import ApiKeys
from serving.http.request import Request
from serving.http.response import Response, json_response
from serving.http.router import Route
from serving.inference_log import reviews
from serving.inference_log.log import InferenceLog
from serving.inference_log.reviews import Review
from serving.protocol.json_fields import parse_json

SHOWN = 50
MAX_SHOWN = 500
PATH = "/feedback/reviews"
KEYS = frozenset({"id", "number", "time", "decision", "class_name"})


class ReviewEndpoints:
    """Endpoint /feedback/reviews, for admins.

    Args:
        inference_log: holds reports and decisions.
        api_keys: name the reviewer.
    """

    def __init__(self, inference_log: InferenceLog, api_keys: ApiKeys) -> None:
        self._log = inference_log
        self._api_keys = api_keys

    def routes(self) -> list[Route]:
        return [
            Route("GET", PATH, self.waiting, is_admin=True, endpoint="/feedback"),
            Route("POST", PATH, self.decide, is_admin=True, endpoint="/feedback"),
        ]

    async def waiting(self, request: Request) -> Response:
        """Respond with the most doubtful reports that wait, at most `limit`, and how many wait."""
        limit = request.integer_parameter("limit", 1, MAX_SHOWN) or SHOWN
        count, reports = await self._log.call(lambda store: reviews.waiting(store, limit))
        return json_response({"waiting": count, "reports": reports})

    async def decide(self, request: Request) -> Response:
        """Store a decision, which `mnistflow feedback review` and the next training heed."""
        review = parse_review(await request.body(MAX_BYTES, RECEIVE_SECONDS))
        reviewer = self._api_keys.reviewer(request.header(b"authorization"))
        await self._log.call(lambda store: reviews.record(store, review, reviewer))
        return json_response(review)


def parse_review(body: bytes) -> Review:
    """Parse `{"id": ..., "number": 0, "time": ..., "decision": "accept", "class_name": ...}`.

    Raises:
        InvalidRequestError: the body is not such an object.
    """
    tree = parse_json(body)
    if not isinstance(tree, dict) or tree.keys() != KEYS:
        raise InvalidRequestError(f"a review is an object with {', '.join(sorted(KEYS))}")
    if tree["decision"] not in ("accept", "reject", None):
        raise InvalidRequestError("decision must be accept, reject, or null to take one back")
    request_id, number = logged_image(tree)
    if type(tree["time"]) not in (int, float) or not math.isfinite(tree["time"]):
        raise InvalidRequestError("time must be a number")
    return Review(request_id, number, float(tree["time"]), tree["decision"], tree["class_name"])
