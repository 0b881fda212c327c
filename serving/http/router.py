"""Router: finds the handler of a request by its method and path."""

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from serving.http.auth import ApiKeys
from serving.http.head import RequestHead
from serving.http.request import Request
from serving.http.response import Response, error_response
from serving.http.route_match import AuthCheck, CallbackHandler, RouteHandler, RouteMatch

# Clients choose the paths, so the cache of matches is bounded in entries and in characters per path.
MAX_CACHED_PATHS = 64
MAX_CACHED_LENGTH = 256
# Endpoint label of all unknown paths, so that clients cannot add labels to the metrics.
OTHER = "other"

RequestHandler = Callable[[Request], Awaitable[Response]]
# Called once with the response to a request, or with the exception that prevented it.
OnResponse = Callable[[Request, Response | Exception], None]


@dataclass(frozen=True, slots=True)
class Route:
    """Method and path pattern of a handler.

    Attributes:
        method: such as GET, which includes HEAD.
        pattern: regular expression that matches whole paths, with named groups.
        handler: coroutine function called with the request and the groups of the pattern.
        callback_handler: optional callback fast path, called with the request, an `OnResponse` and the groups of the
            pattern. Returns False to fall back to `handler`.
        is_open: whether no key is needed: health checks and the page.
        is_admin: whether an admin's key is needed.
        endpoint: label in metrics, logs and traces; default: the first segment of the pattern.
    """

    method: str
    pattern: str
    handler: RouteHandler
    callback_handler: CallbackHandler | None = None
    is_open: bool = False
    is_admin: bool = False
    endpoint: str = ""


class Router:
    """Matches requests with routes, in the order of the routes.

    Args:
        routes: no two with the same method and pattern.
        api_keys: checks the keys of requests.
    """

    def __init__(self, routes: Sequence[Route], api_keys: ApiKeys) -> None:
        methods: dict[str, dict[str, Route]] = {}
        for route in routes:
            methods.setdefault(route.pattern, {})[route.method] = route
        self._routes = [(re.compile(pattern), by_method) for pattern, by_method in methods.items()]
        self._endpoints = {_first_segment(route.pattern): _endpoint(route) for route in routes}
        self._api_keys = api_keys
        self._cached_find = lru_cache(MAX_CACHED_PATHS)(self._find)

    def match(self, head: RequestHead) -> RouteMatch:
        """Return the handlers for a request; those of unknown paths respond 404, of unknown methods 405."""
        found = head.route_match
        if found is None:
            find = self._cached_find if len(head.path) <= MAX_CACHED_LENGTH else self._find
            found = head.route_match = find(head.method, head.path)
        return found

    def _find(self, method: str, path: str) -> RouteMatch:
        for pattern, by_method in self._routes:
            match = pattern.fullmatch(path)
            if match is None:
                continue
            route = by_method.get(method)
            if route is None:
                endpoint = _endpoint(next(iter(by_method.values())))
                response = error_response(405, "this method is not allowed here", {"allow": ", ".join(by_method)})
                return RouteMatch(endpoint, _template(match), _constant_handler(response))
            check, groups = self._auth_check(route), match.groups()
            return RouteMatch(_endpoint(route), _template(match), route.handler, route.callback_handler, check, groups)
        endpoint = self._endpoints.get(_first_segment(path), OTHER)
        response = error_response(404, "there is nothing at this path: /docs lists the endpoints")
        return RouteMatch(endpoint, endpoint, _constant_handler(response))

    def _auth_check(self, route: Route) -> AuthCheck | None:
        if route.is_open:
            return None
        return self._api_keys.require_admin if route.is_admin else self._api_keys.require_client


def _endpoint(route: Route) -> str:
    return route.endpoint or _first_segment(route.pattern)


def _template(match: re.Match[str]) -> str:
    """Return the matched path with the names of the groups in place of what they matched."""
    path = match.string
    for name in reversed([*match.re.groupindex]):
        start, end = match.span(name)
        if start >= 0:
            path = f"{path[:start]}{{{name}}}{path[end:]}"
    return path


def _first_segment(path: str) -> str:
    return "/" + path.split("/", 2)[1] if path.startswith("/") else ""


def _constant_handler(response: Response) -> RouteHandler:
    async def handle(_: Request) -> Response:
        return response

    return handle
