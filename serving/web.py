"""A thin layer over ASGI that every HTTP door stands on: requests, answers, routes, bodies within limits, errors."""

import asyncio
import logging
import re
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

import orjson

from serving.access import Access
from serving.errors import (
    BodyTimeoutError,
    ClientGoneError,
    DeadlineError,
    InferenceFailedError,
    InvalidRequestError,
    NotReadyError,
    OverloadedError,
    ServingError,
    TooLargeError,
    UnauthorizedError,
    UnknownModelError,
    UnsupportedMediaError,
)

log = logging.getLogger(__name__)

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

STATUS: Mapping[type[ServingError], int] = {
    InvalidRequestError: 400,
    UnauthorizedError: 401,
    UnknownModelError: 404,
    BodyTimeoutError: 408,
    TooLargeError: 413,
    UnsupportedMediaError: 415,
    ClientGoneError: 499,
    InferenceFailedError: 500,
    NotReadyError: 503,
    OverloadedError: 503,
    DeadlineError: 504,
}
ERROR_HEADERS: Mapping[type[ServingError], Mapping[str, str]] = {
    OverloadedError: {"retry-after": "1"},
    UnauthorizedError: {"www-authenticate": "Bearer"},
}
JSON = "application/json"
IDENTITY = "identity"
WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
# Below this size a compressed answer costs more time than it saves.
MIN_COMPRESSED_BYTES = 1024
# The server joins what arrives together, so an honest body of the largest size takes far fewer pieces.
MAX_PIECES = 16_384
# Key of a scope's state under which the connection tells whether its client has left.
CLIENT_GONE = "serving.client_gone"


class Request:
    """A request as far as its head has been read.

    Attributes:
        method: such as GET; HEAD is handled as GET, and its body is dropped by the server.
        path: decoded.
        is_gone: says whether the client has left.
    """

    __slots__ = ("_headers", "_query", "_receive", "is_gone", "method", "path")

    def __init__(self, scope: Mapping[str, Any], receive: Receive) -> None:
        self.method: str = "GET" if scope["method"] == "HEAD" else scope["method"]
        self.path: str = scope["path"]
        self.is_gone: Callable[[], bool] = scope.get("state", {}).get(CLIENT_GONE, _is_here)
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self._query: bytes = scope["query_string"]
        self._receive = receive

    def header(self, name: bytes, default: str = "") -> str:
        """Return a header by its lower-case name."""
        value = self._headers.get(name)
        return default if value is None else value.decode("latin-1")

    def has(self, name: bytes) -> bool:
        """Say whether a header, by its lower-case name, was sent."""
        return name in self._headers

    def parameter(self, name: str) -> str | None:
        """Return the first value of a query parameter."""
        return parse_qs(self._query.decode("latin-1")).get(name, [None])[0]

    def media(self) -> str:
        """Return the type of the body, without parameters."""
        return self.header(b"content-type").partition(";")[0].strip().lower()

    async def body(self, max_bytes: int, seconds: float) -> bytes:
        """Return the whole body, inflated.

        Raises:
            TooLargeError: it is larger than `max_bytes` or comes in too many pieces; the rest is not kept.
            BodyTimeoutError: it did not arrive within `seconds`.
            InvalidRequestError: it is not compressed as it says.
            ClientGoneError: the client left before it was complete.
            UnsupportedMediaError: it is compressed otherwise than by gzip or deflate.
        """
        encoding = self.header(b"content-encoding", IDENTITY).strip().lower()
        if encoding != IDENTITY and encoding not in WINDOW_BITS:
            raise UnsupportedMediaError("a body may be compressed by gzip or deflate")
        length = self.header(b"content-length", "0")
        if length.isdecimal() and int(length) > max_bytes:
            raise TooLargeError(f"the body is larger than {max_bytes} bytes")
        try:
            async with asyncio.timeout(seconds):
                body = await self._collected(max_bytes)
        except TimeoutError:
            raise BodyTimeoutError(f"the body did not arrive within {seconds:g} seconds") from None
        return body if encoding == IDENTITY else await asyncio.to_thread(_inflated, body, encoding, max_bytes)

    async def _collected(self, max_bytes: int) -> bytes:
        pieces: list[bytes] = []
        size = 0
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                raise ClientGoneError("the client went away before the body was complete")
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if size > max_bytes or len(pieces) > MAX_PIECES:
                raise TooLargeError(f"the body is larger than {max_bytes} bytes, or in more than {MAX_PIECES} pieces")
            more = message.get("more_body", False)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back to the client, in full."""

    body: bytes
    status: int = 200
    media: str = JSON
    headers: Mapping[str, str] | None = None


Handler = Callable[..., Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Route:
    """Paths that a handler answers; it is given the request and the groups of the pattern.

    Attributes:
        is_open: whether it answers without a key: health, for probes, and the page.
    """

    method: str
    pattern: str
    handler: Handler
    is_open: bool = False


class Application:
    """The ASGI application made of routes.

    Args:
        routes: of all doors; no two with the same method and pattern.
        access: decides who may call what is not open.
        observe: told path, status, and seconds of every request.
        on_start, on_stop: awaited when the server starts and stops.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        access: Access,
        observe: Callable[[str, int, float], None],
        on_start: Callable[[], Awaitable[None]],
        on_stop: Callable[[], Awaitable[None]],
    ) -> None:
        patterns: dict[str, dict[str, Route]] = {}
        for route in routes:
            patterns.setdefault(route.pattern, {})[route.method] = route
        self._routes = [(re.compile(pattern), methods) for pattern, methods in patterns.items()]
        self._access = access
        self._observe = observe
        self._on_start = on_start
        self._on_stop = on_stop

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        start = time.perf_counter()
        request = Request(scope, receive)
        answer = await self._answer(request)
        await _send(answer, request, send)
        self._observe(request.path, answer.status, time.perf_counter() - start)

    async def _answer(self, request: Request) -> Answer:
        try:
            for pattern, methods in self._routes:
                match = pattern.fullmatch(request.path)
                if match is not None:
                    route = methods.get(request.method)
                    if route is None:
                        return error_answer(405, "not with this method", {"allow": ", ".join(methods)})
                    if not route.is_open:
                        self._access.admit(request.header(b"authorization"))
                    return await route.handler(request, *match.groups())
            return error_answer(404, "nothing is here")
        except ServingError as error:
            return _serving_error(error)
        except Exception:
            log.exception("a request failed for a reason that was not foreseen")
            return error_answer(500, "internal error")

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        await self._on_start()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await self._on_stop()
        await send({"type": "lifespan.shutdown.complete"})


def json_answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an answer in JSON; numpy arrays are written as lists."""
    return Answer(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), status, JSON, headers)


def error_answer(status: int, text: str, headers: Mapping[str, str] | None = None) -> Answer:
    """Return an error as the Open Inference Protocol has it; all doors do the same."""
    return json_answer({"error": text}, status, headers)


def _serving_error(error: ServingError) -> Answer:
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)
    if status == 500:
        log.error("%s", error, exc_info=error)
    headers = next((headers for kind, headers in ERROR_HEADERS.items() if isinstance(error, kind)), None)
    return error_answer(status, str(error), headers)


async def _send(answer: Answer, request: Request, send: Send) -> None:
    body = answer.body
    headers = [(b"content-type", answer.media.encode())]
    if answer.headers:
        headers += [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
    if len(body) >= MIN_COMPRESSED_BYTES:
        encoding = _accepted_encoding(request.header(b"accept-encoding"))
        headers.append((b"vary", b"accept-encoding"))
        if encoding is not None:
            body = zlib.compress(body, 1, WINDOW_BITS[encoding])
            headers.append((b"content-encoding", encoding.encode()))
    headers.append((b"content-length", b"%d" % len(body)))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _accepted_encoding(header: str) -> str | None:
    """Return the first encoding offered here that the client accepts (RFC 9110, 12.5.3)."""
    for entry in header.lower().split(","):
        encoding, _, weight = entry.partition(";")
        if encoding.strip() in WINDOW_BITS and weight.replace(" ", "") not in {"q=0", "q=0.0", "q=0.00", "q=0.000"}:
            return encoding.strip()
    return None


def _inflated(body: bytes, encoding: str, max_bytes: int) -> bytes:
    inflater = zlib.decompressobj(WINDOW_BITS[encoding])
    try:
        content = inflater.decompress(body, max_bytes + 1)
    except zlib.error:
        raise InvalidRequestError(f"the body is not valid {encoding}") from None
    if len(content) > max_bytes:
        raise TooLargeError(f"the body is larger than {max_bytes} bytes once inflated")
    if not inflater.eof or inflater.unused_data:
        raise InvalidRequestError(f"the body is not valid {encoding}")
    return content


def _is_here() -> bool:
    return False
