"""HTTP requests: a parsed head, and a body that arrives in chunks within limits of size and time."""

import asyncio
from collections.abc import Callable
from urllib.parse import parse_qs

from serving.errors import (
    BodyTimeoutError,
    ClientGoneError,
    InvalidRequestError,
    TooLargeError,
    UnsupportedMediaError,
)
from serving.http.compression import IDENTITY, WINDOW_BITS, inflate
from serving.http.head import RequestHead
from serving.http.request_id import new_request_id

# The event loop joins bytes that arrive together, so the chunks of an ordinary body are larger than this on average.
MIN_CHUNK_BYTES = 512
# Any body may have this many chunks, whatever their size.
MIN_CHUNK_LIMIT = 1024
# Bytes buffered before the handler asks for the body; then the connection stops reading.
MAX_BUFFERED_BYTES = 64 * 1024


def whole_number(text: str, most: int) -> int | None:
    """Return the number that decimal digits stand for; None if the text is anything else, or the number above `most`.

    A text with more digits than `most` is not parsed: that takes quadratic time, and is an error above 4300 digits.
    """
    if not (text.isascii() and text.isdecimal() and len(text) <= len(str(most))):
        return None
    number = int(text)
    return number if number <= most else None


class Request:
    """A request with a parsed head. The connection feeds its body.

    Attributes:
        head: method, path and headers.
        id: the client's request ID, else a generated one.
        is_disconnected: returns whether the client has closed the connection.
        start: when serving the request began, on the clock of `time.perf_counter`.
    """

    __slots__ = (
        "_chunks",
        "_is_aborted",
        "_is_complete",
        "_limit",
        "_size",
        "_transport",
        "_waiter",
        "head",
        "id",
        "is_disconnected",
        "start",
    )

    def __init__(self, head: RequestHead, transport: asyncio.Transport, body: bytes | None = None) -> None:
        """Create a request with a whole body, or with None and an empty one that is fed later."""
        self.head = head
        self.id = head.request_id or new_request_id()
        self.is_disconnected: Callable[[], bool] = transport.is_closing
        self.start = 0.0
        self._transport = transport
        self._chunks: list[bytes] = [] if body is None else [body]
        self._size = 0 if body is None else len(body)
        self._limit: int | None = None
        self._is_complete = body is not None
        self._is_aborted = False
        self._waiter: asyncio.Future[None] | None = None

    @property
    def method(self) -> str:
        """Method of the request; GET for HEAD."""
        return self.head.method

    @property
    def path(self) -> str:
        """Path of the request, percent-decoded."""
        return self.head.path

    @property
    def media_type(self) -> str:
        """Content type of the body, in lower case, without parameters."""
        return self.head.media_type

    def header(self, name: bytes, default: str = "") -> str:
        """Return a header by its lower-case name."""
        return self.head.header(name, default)

    def query_parameter(self, name: str) -> str | None:
        """Return the first value of a query parameter."""
        return parse_qs(self.head.query.decode("latin-1")).get(name, [None])[0]

    def integer_parameter(self, name: str, least: int, most: int) -> int | None:
        """Return the first value of a query parameter as a number; None without one.

        Raises:
            InvalidRequestError: it is not a whole number from `least` to `most`.
        """
        text = self.query_parameter(name)
        if text is None:
            return None
        number = whole_number(text, most)
        if number is None or number < least:
            raise InvalidRequestError(f"{name} must be a whole number from {least} to {most}")
        return number

    def buffered_body(self, max_bytes: int) -> bytes | None:
        """Return the body if it has arrived in one chunk, uncompressed and within the limit; else None."""
        if not self._is_complete or self._size > max_bytes or len(self._chunks) != 1 or self.head.encoding != IDENTITY:
            return None
        self._limit = max_bytes
        return self._chunks[0]

    async def body(self, max_bytes: int, seconds: float) -> bytes:
        """Wait for the body and return it, decompressed.

        Raises:
            TooLargeError: it has more than `max_bytes` or too many chunks; the rest is dropped.
            BodyTimeoutError: it did not arrive within `seconds`.
            InvalidRequestError: it is not valid HTTP, or not valid in its Content-Encoding.
            ClientGoneError: the client closed the connection before the body was complete.
            UnsupportedMediaError: its Content-Encoding is neither gzip nor deflate.
        """
        encoding = self.head.encoding
        if encoding != IDENTITY and encoding not in WINDOW_BITS:
            raise UnsupportedMediaError("this Content-Encoding is not supported, use gzip or deflate")
        self._limit = max_bytes
        if self._is_too_large() or (not self._is_complete and self.head.content_length > max_bytes):
            raise TooLargeError(f"the body has more than {max_bytes} bytes, or too many chunks")
        if not self._is_complete:
            await self._receive(max_bytes, seconds)
        body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        return body if encoding == IDENTITY else await asyncio.to_thread(inflate, body, encoding, max_bytes)

    def feed_body(self, chunk: bytes) -> None:
        """Append a chunk to the body; pause reading when too much is buffered."""
        if self._limit is not None and self._is_too_large():
            return
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._limit is None:
            if self._size > MAX_BUFFERED_BYTES or len(self._chunks) > MIN_CHUNK_LIMIT:
                self._transport.pause_reading()
        elif self._is_too_large():
            self._wake()

    def complete_body(self) -> None:
        """Mark the body as complete."""
        self._is_complete = True
        self._wake()

    def abort_body(self) -> None:
        """Mark the body as one that will never be complete: the client disconnected or sent invalid HTTP."""
        self._is_aborted = True
        self._wake()

    def discard_body(self) -> None:
        """Drop what has arrived of the body and what may still arrive, because the response has been sent."""
        self._limit = -1  # any size exceeds it, so that `feed_body` drops what still arrives
        self._chunks.clear()

    async def _receive(self, max_bytes: int, seconds: float) -> None:
        if not self._is_aborted:
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
            raise TooLargeError(f"the body has more than {max_bytes} bytes, or too many chunks")
        if self._transport.is_closing():
            raise ClientGoneError("the client closed the connection before the body was complete")
        if not self._is_complete:
            raise InvalidRequestError("the body is not valid HTTP: check its chunks")

    def _is_too_large(self) -> bool:
        if self._limit is None:
            return False
        return self._size > self._limit or len(self._chunks) > max(MIN_CHUNK_LIMIT, self._limit // MIN_CHUNK_BYTES)

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
