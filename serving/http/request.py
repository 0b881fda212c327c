"""Requests as every HTTP endpoint sees them: a head that is read already, and a body that arrives within limits."""

import asyncio
import itertools
import os
import re
import zlib
from collections.abc import Callable
from functools import cached_property
from typing import Any
from urllib.parse import parse_qs

from serving.errors import (
    BodyTimeoutError,
    ClientGoneError,
    InvalidRequestError,
    TooLargeError,
    UnsupportedMediaError,
)

IDENTITY = "identity"
WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
# The server joins what arrives together, so the pieces of an honest body are larger than this in the mean.
MIN_PIECE_BYTES = 512
# As many pieces as these are taken of any body.
FEW_PIECES = 1024
# What a request may hold before its handler asks for the body.
MAX_UNASKED_BYTES = 64 * 1024
# An id that a client may give; others are replaced.
ID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
# No two processes give the same ids.
PROCESS_ID = os.urandom(6).hex()
_numbers = itertools.count(1)

# Heads are the clients' to choose: only so many are remembered, of this length at most.
REMEMBERED_HEADS = 1024
LONGEST_REMEMBERED = 1024
# Python refuses to read numbers of thousands of digits.
LONGEST_NUMBER = 20


class Head:
    """What stands before a body. Requests that begin with the same bytes share one, with what was made of it.

    Attributes:
        method: such as GET; HEAD is handled as GET.
        is_head: whether the answer goes without its body.
        path: decoded.
        query: as sent.
        keeps_alive: whether the connection stays open behind the answer.
        destination: the application's, where requests with this head go; None before the first.
    """

    def __init__(self, method: str, path: str, query: bytes, headers: dict[bytes, bytes], keeps_alive: bool) -> None:
        self.is_head = method == "HEAD"
        self.method = "GET" if self.is_head else method
        self.path = path
        self.query = query
        self.keeps_alive = keeps_alive
        self.destination: Any = None
        self._headers = headers

    def header(self, name: bytes, default: str = "") -> str:
        """Return a header by its lower-case name."""
        value = self._headers.get(name)
        return default if value is None else value.decode("latin-1")

    def has(self, name: bytes) -> bool:
        """Say whether a header, by its lower-case name, was sent."""
        return name in self._headers

    @cached_property
    def id(self) -> str | None:
        """What the client calls the request in `X-Request-Id`, if that may stand in headers, logs and tables."""
        return valid_request_id(self.header(b"x-request-id"))

    @cached_property
    def media(self) -> str:
        """The type of the body, without parameters."""
        return self.header(b"content-type").partition(";")[0].strip().lower()

    @cached_property
    def encoding(self) -> str:
        """How the body is compressed."""
        return self.header(b"content-encoding", IDENTITY).strip().lower()

    @cached_property
    def announced_bytes(self) -> int:
        """How long the body will be, as far as that is said."""
        length = self.header(b"content-length")
        return int(length) if length.isdecimal() and len(length) <= LONGEST_NUMBER else 0

    @cached_property
    def json_bytes(self) -> str | None:
        """How much of the body is JSON, as sent for the inference protocol; None when all or nothing is said."""
        return self.header(b"inference-header-content-length") if self.has(b"inference-header-content-length") else None


class RequestHeadCache:
    """The heads of earlier requests, by their bytes: a client sends few different ones, again and again."""

    def __init__(self) -> None:
        self._heads: dict[bytes, Head] = {}

    def find(self, data: bytes) -> tuple[Head, bytes] | None:
        """Return head and body, when the data are a whole request whose head came before."""
        end = data.find(b"\r\n\r\n", 0, LONGEST_REMEMBERED) + 4
        head = self._heads.get(data[:end])
        if head is None or head.announced_bytes != len(data) - end:
            return None
        return head, data[end:]

    def remember(self, data: bytes, head: Head) -> None:
        """Keep the last head in these data if they are one request as a whole, behind which the connection stays open.

        Then it is also the first, and reading it leaves nothing to remember but the head. With an id of its own it
        would hardly come again.
        """
        end = data.find(b"\r\n\r\n", 0, LONGEST_REMEMBERED) + 4
        is_whole = end > 3 and head.announced_bytes == len(data) - end
        if (
            is_whole
            and head.keeps_alive
            and not any(map(head.has, (b"transfer-encoding", b"upgrade", b"x-request-id")))
        ):
            if len(self._heads) == REMEMBERED_HEADS:
                self._heads.clear()
            self._heads[data[:end]] = head


class Request:
    """A request whose head has been read; its connection feeds it the body.

    Attributes:
        head: method, path and headers.
        id: what the client calls the request, else one made here.
        is_gone: says whether the client has left.
        since: when its turn came, on the clock of `time.perf_counter`.
    """

    __slots__ = (
        "_is_abandoned",
        "_is_complete",
        "_limit",
        "_pieces",
        "_size",
        "_transport",
        "_waiter",
        "head",
        "id",
        "is_gone",
        "since",
    )

    def __init__(self, head: Head, transport: asyncio.Transport, body: bytes | None = None) -> None:
        """Start with an empty body that is to be fed, or with a whole one."""
        self.head = head
        self.id = head.id or new_request_id()
        self.is_gone: Callable[[], bool] = transport.is_closing
        self.since = 0.0
        self._transport = transport
        self._pieces: list[bytes] = [] if body is None else [body]
        self._size = 0 if body is None else len(body)
        self._limit: int | None = None
        self._is_complete = body is not None
        self._is_abandoned = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def method(self) -> str:
        return self.head.method

    @property
    def path(self) -> str:
        return self.head.path

    @property
    def media(self) -> str:
        return self.head.media

    def header(self, name: bytes, default: str = "") -> str:
        """Return a header by its lower-case name."""
        return self.head.header(name, default)

    def has(self, name: bytes) -> bool:
        """Say whether a header, by its lower-case name, was sent."""
        return self.head.has(name)

    def parameter(self, name: str) -> str | None:
        """Return the first value of a query parameter."""
        return parse_qs(self.head.query.decode("latin-1")).get(name, [None])[0]

    def body_at_hand(self, max_bytes: int) -> bytes | None:
        """Return the body if `body` would have to do nothing else: it is here as a whole, small and plain enough."""
        if not self._is_complete or self._size > max_bytes or len(self._pieces) != 1 or self.head.encoding != IDENTITY:
            return None
        self._limit = max_bytes
        return self._pieces[0]

    async def body(self, max_bytes: int, seconds: float) -> bytes:
        """Return the whole body, inflated.

        Raises:
            TooLargeError: it is larger than `max_bytes` or comes in too many pieces; the rest is not kept.
            BodyTimeoutError: it did not arrive within `seconds`.
            InvalidRequestError: it is not compressed as it says.
            ClientGoneError: the client left before it was complete.
            UnsupportedMediaError: it is compressed otherwise than by gzip or deflate.
        """
        encoding = self.head.encoding
        if encoding != IDENTITY and encoding not in WINDOW_BITS:
            raise UnsupportedMediaError("a body may be compressed by gzip or deflate")
        self._limit = max_bytes
        if self._is_too_large() or (not self._is_complete and self.head.announced_bytes > max_bytes):
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


def valid_request_id(text: str | None) -> str | None:
    """Return the id if there is one that may stand in headers, logs and tables as it is."""
    return text if text and ID.fullmatch(text) else None


def new_request_id() -> str:
    """Return an id for a request whose client gave none."""
    return f"{PROCESS_ID}-{next(_numbers)}"


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
