"""What every HTTP endpoint stands on: routes, answers, errors."""

import asyncio
import logging
import re
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import orjson

from serving.errors import (
    BodyTimeoutError,
    ClientGoneError,
    DeadlineError,
    ForbiddenError,
    InferenceFailedError,
    InvalidRequestError,
    LogUnavailableError,
    NotReadyError,
    OverloadedError,
    ServingError,
    TooLargeError,
    UnauthorizedError,
    UnknownModelError,
    UnknownRequestError,
    UnsupportedMediaError,
)
from serving.http.auth import ApiKeys
from serving.http.request import WINDOW_BITS, Head, Request, RequestHeadCache

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

STATUS: Mapping[type[ServingError], int] = {
    InvalidRequestError: 400,
    UnauthorizedError: 401,
    ForbiddenError: 403,
    UnknownModelError: 404,
    UnknownRequestError: 404,
    BodyTimeoutError: 408,
    TooLargeError: 413,
    UnsupportedMediaError: 415,
    ClientGoneError: 499,
    InferenceFailedError: 500,
    NotReadyError: 503,
    OverloadedError: 503,
    LogUnavailableError: 503,
    DeadlineError: 504,
}
ERROR_HEADERS: Mapping[type[ServingError], Mapping[str, str]] = {
    OverloadedError: {"retry-after": "1"},
    UnauthorizedError: {"www-authenticate": "Bearer"},
}
JSON = "application/json"
# Below this size a compressed answer costs more time than it saves.
MIN_COMPRESSED_BYTES = 1024
# Paths are the clients' to choose: only so many are remembered, of this length at most.
REMEMBERED_PATHS = 64
LONGEST_REMEMBERED = 256


class Response(NamedTuple):
    """What goes back to the client, in full."""

    body: bytes
    status: int = 200
    media: str = JSON
    headers: Mapping[str, str] | None = None


Handler = Callable[..., Awaitable[Response]]
# Takes a request's answer, or why there is none.
Finish = Callable[[Request, Response | Exception], None]
CallbackHandler = Callable[..., bool]
RequestHandler = Callable[[Request], Awaitable[Response]]
# Given the Authorization header; raises when that is not enough.
Guard = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Route:
    """Paths that a handler answers; it is given the request and the groups of the pattern.

    Attributes:
        callback_handler: optional callback fast path, called with the request, the completion callback and the groups
            of the pattern. Returns False to fall back to `handler`.
        is_open: whether it answers without a key: health, for probes, and the page.
        is_admin: whether it answers admins only.
    """

    method: str
    pattern: str
    handler: Handler
    callback_handler: CallbackHandler | None = None
    is_open: bool = False
    is_admin: bool = False


@dataclass(frozen=True, slots=True)
class _Destination:
    """Where a request goes."""

    endpoint: str
    handler: Handler
    callback_handler: CallbackHandler | None = None
    guard: Guard | None = None
    groups: Sequence[str | None] = ()


class Application:
    """The application made of routes.

    Args:
        routes: of all doors; no two with the same method and pattern.
        access: decides who may call what is not open.
        endpoint: names the endpoint of a path, one of few.
        observe: told endpoint, status, and seconds of every request.
        running: entered when the server starts, left when it stops.
        wrappers: each is given what answers requests, and returns what does that and more; the last is the outermost.

    Attributes:
        answer: returns the answer to a request, whatever goes wrong.
        heads: of the requests on all connections.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        access: ApiKeys,
        endpoint: Callable[[str], str],
        observe: Callable[[str, int, float], None],
        running: AbstractAsyncContextManager[None],
        wrappers: Sequence[Callable[[RequestHandler], RequestHandler]] = (),
    ) -> None:
        methods: dict[str, dict[str, Route]] = {}
        for route in routes:
            methods.setdefault(route.pattern, {})[route.method] = route
        self._routes = [(re.compile(pattern), by_method) for pattern, by_method in methods.items()]
        self._access = access
        self._remembered = lru_cache(REMEMBERED_PATHS)(self._find)
        self._endpoint = endpoint
        self._observe = observe
        self._running = running
        self._is_wrapped = bool(wrappers)
        self.heads = RequestHeadCache()
        self.answer: RequestHandler = self._observed_answer
        for wrap in wrappers:
            self.answer = wrap(self.answer)

    def start(self, request: Request, finish: Finish) -> bool:
        """Try the callback fast path. Returns False if the request needs `answer`."""
        destination = request.head.destination or self._destination(request.head)
        if destination.callback_handler is None:
            return False
        try:
            if destination.guard is not None:
                destination.guard(request.header(b"authorization"))
            return bool(destination.callback_handler(request, finish, *destination.groups))
        except Exception as error:
            # Not at once: what calls this is still busy with the connection.
            asyncio.get_running_loop().call_soon(finish, request, error)
            return True

    def conclude(self, request: Request, outcome: Response | Exception) -> Response:
        """Return the answer to a request that has been started, whatever became of it."""
        answer = outcome if isinstance(outcome, Response) else _error(outcome)
        self._observe(request.head.destination.endpoint, answer.status, time.perf_counter() - request.since)
        return answer

    async def _observed_answer(self, request: Request) -> Response:
        outcome: Response | Exception
        destination = request.head.destination or self._destination(request.head)
        try:
            if destination.guard is not None:
                destination.guard(request.header(b"authorization"))
            outcome = await destination.handler(request, *destination.groups)
        except Exception as error:
            outcome = error
        return self.conclude(request, outcome)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Start and stop as ASGI's lifespan says; requests come by `answer`."""
        if scope["type"] != "lifespan":
            raise ValueError(f"requests do not come by ASGI: {scope['type']}")
        await receive()
        async with self._running:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    def _destination(self, head: Head) -> _Destination:
        find = self._remembered if len(head.path) <= LONGEST_REMEMBERED else self._find
        head.destination = found = find(head.method, head.path)
        return found

    def _find(self, method: str, path: str) -> _Destination:
        endpoint = self._endpoint(path)
        for pattern, by_method in self._routes:
            match = pattern.fullmatch(path)
            if match is not None:
                route = by_method.get(method)
                if route is None:
                    answer = error_response(405, "not with this method", {"allow": ", ".join(by_method)})
                    return _Destination(endpoint, _giving(answer))
                callback_handler = None if self._is_wrapped else route.callback_handler
                return _Destination(endpoint, route.handler, callback_handler, self._guard(route), match.groups())
        return _Destination(endpoint, _giving(error_response(404, "nothing is here")))

    def _guard(self, route: Route) -> Guard | None:
        if route.is_open:
            return None
        return self._access.require_admin if route.is_admin else self._access.require_client


def _giving(answer: Response) -> Handler:
    async def give(_: Request) -> Response:
        return answer

    return give


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return an answer in JSON; numpy arrays are written as lists."""
    return Response(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), status, JSON, headers)


def error_response(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error as the Open Inference Protocol has it; all doors do the same."""
    return json_response({"error": text}, status, headers)


def _error(error: Exception) -> Response:
    if not isinstance(error, ServingError):
        log.error("a request failed for a reason that was not foreseen", exc_info=error)
        return error_response(500, "internal error")
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)
    if status == 500:
        log.error("%s", error, exc_info=error)
    headers = next((headers for kind, headers in ERROR_HEADERS.items() if isinstance(error, kind)), None)
    return error_response(status, str(error), headers)


def compressed(answer: Response, request: Request) -> Response:
    """Return the answer in an encoding that the client accepts; pays from `MIN_COMPRESSED_BYTES` on."""
    headers = dict(answer.headers or {})
    headers["vary"] = ", ".join(filter(None, (headers.get("vary"), "accept-encoding")))
    encoding = _accepted_encoding(request.header(b"accept-encoding"))
    if encoding is None:
        return answer._replace(headers=headers)
    body = zlib.compress(answer.body, 1, WINDOW_BITS[encoding])
    return answer._replace(body=body, headers={**headers, "content-encoding": encoding})


def _accepted_encoding(header: str) -> str | None:
    """Return the first encoding offered here that the client accepts (RFC 9110, 12.5.3)."""
    for entry in header.lower().split(","):
        encoding, _, weight = entry.partition(";")
        if encoding.strip() in WINDOW_BITS and weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}:
            return encoding.strip()
    return None
