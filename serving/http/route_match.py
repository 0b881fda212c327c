"""Match of a request with a route: its handlers, which requests with the same head share."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from serving.http.response import Response

RouteHandler = Callable[..., Awaitable[Response]]
CallbackHandler = Callable[..., bool]
# Takes the Authorization header; raises if it does not permit the request.
AuthCheck = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class RouteMatch:
    """Handlers of a request, with the groups of the matched pattern and the check of its key.

    Attributes:
        route: the path with names of groups in place of what they matched, as in `/v2/models/{model}/infer`.
    """

    endpoint: str
    route: str
    handler: RouteHandler
    callback_handler: CallbackHandler | None = None
    check: AuthCheck | None = None
    groups: Sequence[str | None] = ()
