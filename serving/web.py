"""What every HTTP door stands on: requests, answers, routes, bodies within limits, errors."""

import asyncio
import itertools
import logging
import os
import re
import time
import zlib
from collections.abc import Awaitable, Callable, Mapping, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import parse_qs

import orjson

from serving.access import Access
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
IDENTITY = "identity"
WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
# Below this size a compressed answer costs more time than it saves.
MIN_COMPRESSED_BYTES = 1024
# The server joins what arrives together, so the pieces of an honest body are larger than this in the mean.
MIN_PIECE_BYTES = 512
# As many pieces as these are taken of any body.
FEW_PIECES = 1024
# An id that a client may give; others are replaced.
ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
# No two processes give the same ids.
PROCESS_ID = os.urandom(6).hex()
_numbers = itertools.count(1)
# Paths are the clients' to choose: only so many are remembered, of this length at most.
REMEMBERED_PATHS = 64
LONGEST_REMEMBERED = 256
# What a request may hold before its handler asks for the body.
MAX_UNASKED_BYTES = 64 * 1024


class Request:
    """A request as far as its head has been read; its connection feeds it the body.

    Attributes:
        method: such as GET; HEAD is handled as GET.
        is_head: whether the answer goes without its body.
        path: decoded.
        id: what the client calls the request in `X-Request-Id`, else one made here.
        keeps_alive: whether the connection stays open behind the answer.
        is_gone: says whether the client has left.
    """

    __slots__ = (
        "_headers",
        "_is_abandoned",
        "_is_complete",
        "_limit",
        "_pieces",
        "_query",
        "_size",
        "_transport",
        "_waiter",
        "id",
        "is_gone",
        "is_head",
        "keeps_alive",
        "method",
        "path",
    )

    def __init__(
        self, method: str, path: str, query: bytes, headers: dict[bytes, bytes], transport: asyncio.Transport
    ) -> None:
        self.is_head = method == "HEAD"
        self.method = "GET" if self.is_head else method
        self.path = path
        given = headers.get(b"x-request-id")
        self.id = new_id() if given is None else sane_id(given.decode("latin-1")) or new_id()
        self.keeps_alive = True
        self.is_gone: Callable[[], bool] = transport.is_closing
        self._query = query
        self._headers = headers
        self._transport = transport
        self._pieces: list[bytes] = []
        self._size = 0
        self._limit: int | None = None
        self._is_complete = False
        self._is_abandoned = False
        self._waiter: asyncio.Future[None] | None = None

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
        self._limit = max_bytes
        if self._is_too_large() or (not self._is_complete and self._announced_bytes() > max_bytes):
            raise TooLargeError(f"the body is larger than {max_bytes} bytes, or in too many pieces")
        if not self._is_complete:
            await self._arrival(max_bytes, seconds)
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        return body if encoding == IDENTITY else await asyncio.to_thread(_inflated, body, encoding, max_bytes)

    def feed(self, piece: bytes) -> None:
        """Take more of the body."""
        if self._limit is not None and self._is_too_large():
            return
        self._pieces.append(piece)
        self._size += len(piece)
        if self._limit is None:
            if self._size > MAX_UNASKED_BYTES or len(self._pieces) > FEW_PIECES:
                self._transport.pause_reading()
        elif self._is_too_large():
            self._settle()

    def finish(self) -> None:
        """The body is complete."""
        self._is_complete = True
        self._settle()

    def abandon(self) -> None:
        """The rest of the body will not come, or cannot be read."""
        self._is_abandoned = True
        self._settle()

    def discard(self) -> None:
        """Keep nothing of what may still come: the answer is given."""
        self._limit = -1
        self._pieces.clear()

    def _announced_bytes(self) -> int:
        length = self.header(b"content-length")
        return int(length) if length.isdecimal() else 0

    async def _arrival(self, max_bytes: int, seconds: float) -> None:
        if not self._is_abandoned:
            if self.header(b"expect").lower() == "100-continue":
                self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            if not self._transport.is_reading():
                self._transport.resume_reading()
            self._waiter = asyncio.get_running_loop().create_future()
            try:
                async with asyncio.timeout(seconds):
                    await self._waiter
            except TimeoutError:
                raise BodyTimeoutError(f"the body did not arrive within {seconds:g} seconds") from None
        if self._is_too_large():
            raise TooLargeError(f"the body is larger than {max_bytes} bytes, or in too many pieces")
        if self._transport.is_closing():
            raise ClientGoneError("the client went away before the body was complete")
        if not self._is_complete:
            raise InvalidRequestError("the body is not sent as HTTP says")

    def _is_too_large(self) -> bool:
        if self._limit is None:
            return False
        return self._size > self._limit or len(self._pieces) > max(FEW_PIECES, self._limit // MIN_PIECE_BYTES)

    def _settle(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Answer(NamedTuple):
    """What goes back to the client, in full."""

    body: bytes
    status: int = 200
    media: str = JSON
    headers: Mapping[str, str] | None = None


Handler = Callable[..., Awaitable[Answer]]
Answering = Callable[[Request], Awaitable[Answer]]
# Given the Authorization header; raises when that is not enough.
Guard = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Route:
    """Paths that a handler answers; it is given the request and the groups of the pattern.

    Attributes:
        is_open: whether it answers without a key: health, for probes, and the page.
        is_admin: whether it answers admins only.
    """

    method: str
    pattern: str
    handler: Handler
    is_open: bool = False
    is_admin: bool = False


@dataclass(frozen=True, slots=True)
class _Destination:
    """Where a request goes."""

    handler: Handler
    guard: Guard
    groups: Sequence[str | None]


class Application:
    """The application made of routes.

    Args:
        routes: of all doors; no two with the same method and pattern.
        access: decides who may call what is not open.
        observe: told path, status, and seconds of every request.
        running: entered when the server starts, left when it stops.
        wrappers: each is given what answers requests, and returns what does that and more; the last is the outermost.

    Attributes:
        answer: returns the answer to a request, whatever goes wrong.
    """

    def __init__(
        self,
        routes: Sequence[Route],
        access: Access,
        observe: Callable[[str, int, float], None],
        running: AbstractAsyncContextManager[None],
        wrappers: Sequence[Callable[[Answering], Answering]] = (),
    ) -> None:
        patterns: dict[str, dict[str, tuple[Handler, Guard]]] = {}
        for route in routes:
            guard = _open if route.is_open else access.admit_admin if route.is_admin else access.admit
            patterns.setdefault(route.pattern, {})[route.method] = (route.handler, guard)
        self._routes = [(re.compile(pattern), methods) for pattern, methods in patterns.items()]
        self._remembered = lru_cache(REMEMBERED_PATHS)(self._find)
        self._observe = observe
        self._running = running
        self.answer: Answering = self._observed_answer
        for wrap in wrappers:
            self.answer = wrap(self.answer)

    async def _observed_answer(self, request: Request) -> Answer:
        start = time.perf_counter()
        try:
            find = self._remembered if len(request.path) <= LONGEST_REMEMBERED else self._find
            found = find(request.method, request.path)
            if isinstance(found, Answer):
                answer = found
            else:
                found.guard(request.header(b"authorization"))
                answer = await found.handler(request, *found.groups)
        except ServingError as error:
            answer = _serving_error(error)
        except Exception:
            log.exception("a request failed for a reason that was not foreseen")
            answer = error_answer(500, "internal error")
        self._observe(request.path, answer.status, time.perf_counter() - start)
        return answer

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Start and stop as ASGI's lifespan says; requests come by `answer`."""
        if scope["type"] != "lifespan":
            raise ValueError(f"requests do not come by ASGI: {scope['type']}")
        await receive()
        async with self._running:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    def _find(self, method: str, path: str) -> _Destination | Answer:
        for pattern, methods in self._routes:
            match = pattern.fullmatch(path)
            if match is not None:
                if method not in methods:
                    return error_answer(405, "not with this method", {"allow": ", ".join(methods)})
                return _Destination(*methods[method], match.groups())
        return error_answer(404, "nothing is here")


def _open(_: str) -> None:
    """Let everybody pass."""


def sane_id(text: str | None) -> str | None:
    """Return the id if there is one that may stand in headers, logs and tables as it is."""
    return text if text and ID.fullmatch(text) else None


def new_id() -> str:
    """Return an id for a request whose client gave none."""
    return f"{PROCESS_ID}-{next(_numbers)}"


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


def compressed(answer: Answer, request: Request) -> Answer:
    """Return the answer in an encoding that the client accepts, when it is large enough for that to pay."""
    if len(answer.body) < MIN_COMPRESSED_BYTES:
        return answer
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
