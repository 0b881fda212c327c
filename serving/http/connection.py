"""HTTP/1.1 connections: bytes in, requests to the application, answers out; with limits on what a client may send.

httptools parses, but for whole requests whose head has been parsed before. Requests of a connection are answered one
after the other, in the order in which they came (RFC 9112, 9.3). A request is started when the bytes at hand are
parsed, so that a small one is there as a whole.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from functools import lru_cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools

from serving.http.request import Head, Request
from serving.http.router import MIN_COMPRESSED_BYTES, Application, Response, compressed, error_response

if TYPE_CHECKING:
    from collections.abc import Mapping

    from uvicorn import Config
    from uvicorn.server import ServerState

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
# Not in the standard, but what nginx logs for a client that has left.
STATUS_LINES[499] = b"HTTP/1.1 499 Client Closed Request\r\n"


@lru_cache
def _opening(status: int, media: str, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Return the lines that an answer begins with; the same all through a second, of which they give the time."""
    lines = [b"%b: %b\r\n" % header for header in headers]
    return b"%bcontent-type: %b\r\n%b" % (STATUS_LINES[status], media.encode("latin-1"), b"".join(lines))


def _lines(headers: Mapping[str, str]) -> bytes:
    return "".join(f"{name.lower()}: {value}\r\n" for name, value in headers.items()).encode("latin-1")


class HttpConnection(asyncio.Protocol):
    """One connection, made by uvicorn's server for each client that connects.

    A client has `timeout_keep_alive` seconds to send the next head, to finish a body that nobody waits for any more,
    and to read its answers; then the connection is cut.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # noqa: ARG002  # uvicorn names what it gives
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._application: Application = config.loaded_app  # what __main__ gave it
        self._seconds = config.timeout_keep_alive
        self._max_connections = config.limit_concurrency or math.inf
        # Of what ends no head and brings no body forward: request lines, headers, trailers, chunk extensions.
        self._max_overhead_bytes = config.h11_max_incomplete_event_size or math.inf
        self._state = server_state
        self._loop = _loop or asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle
        self._since = self._loop.time()
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._newest: Head | None = None
        self._is_between = True
        self._incoming: Request | None = None
        self._waiting: deque[Request] = deque()
        self._current: Request | None = None
        self._overhead_bytes = 0
        self._is_progressing = False
        self._is_deaf = False
        self._is_ending = False
        self._is_unread = False

    # What the event loop calls.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of TCP
        self._transport = transport
        self._state.connections.add(self)  # type: ignore[arg-type]  # as uvicorn's own protocols
        self._timer = self._loop.call_later(self._seconds, self._check_time)
        if len(self._state.connections) > self._max_connections:
            self._turn_away(error_response(503, "too many connections, try again later", {"retry-after": "1"}))

    def connection_lost(self, _: Exception | None) -> None:
        self._state.connections.discard(self)
        self._timer.cancel()
        self._waiting.clear()
        if self._incoming is not None:
            self._incoming.abandon()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        if self._is_between and (known := self._application.heads.find(data)) is not None:
            head, body = known
            self._overhead_bytes = 0
            request = Request(head, self._transport, body)
            if self._current is None and not self._waiting and not self._is_unread:
                self._serve(request)
            else:
                self._since = self._loop.time()
                self._waiting.append(request)
                self._start_next()
        else:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        self._is_progressing = False
        begins, self._newest = self._is_between, None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Nothing else is spoken here: the request is answered as if no other protocol had been offered.
            self._is_deaf = self._is_ending = True
        except httptools.HttpParserError:
            self._refuse()
            return
        self._overhead_bytes = 0 if self._is_progressing else self._overhead_bytes + len(data)
        if self._overhead_bytes > self._max_overhead_bytes:
            self._transport.abort()
        if begins and self._is_between and self._newest is not None and not self._is_deaf:
            self._application.heads.remember(data, self._newest)
        self._start_next()

    def pause_writing(self) -> None:
        self._is_unread = True
        self._since = self._loop.time()

    def resume_writing(self) -> None:
        self._is_unread = False
        self._start_next()

    def shutdown(self) -> None:
        """Finish what is under way, then close; called by the server when it stops."""
        self._is_ending = True
        if self._current is None:
            self._transport.close()

    # What the parser calls.

    def on_message_begin(self) -> None:
        self._is_between = False
        self._since = self._loop.time()
        self._url = b""
        self._headers = {}

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._is_progressing = True
        url = httptools.parse_url(self._url)
        path = url.path.decode("ascii")
        self._newest = Head(
            self._parser.get_method().decode("ascii"),
            unquote(path) if "%" in path else path,
            url.query or b"",
            self._headers,
            self._parser.should_keep_alive() and self._parser.get_http_version() != "1.0",
        )
        self._incoming = Request(self._newest, self._transport)
        self._waiting.append(self._incoming)

    def on_body(self, body: bytes) -> None:
        self._is_progressing = True
        if self._incoming is not None:
            self._incoming.feed(body)

    def on_message_complete(self) -> None:
        self._is_between = True
        self._is_progressing = True
        self._since = self._loop.time()
        if self._incoming is not None:
            self._incoming.finish()
            self._incoming = None

    # Requests, one after the other.

    def _start_next(self) -> None:
        if self._transport.is_closing():
            return
        if self._current is None and not self._is_unread:
            if self._waiting:
                self._serve(self._waiting.popleft())
            if not self._waiting and not self._transport.is_reading():
                self._transport.resume_reading()
        if self._waiting:
            self._transport.pause_reading()

    def _serve(self, request: Request) -> None:
        self._current = request
        request.since = time.perf_counter()
        if not self._application.start(request, self._conclude):
            task = self._loop.create_task(self._serve_in_task(request))
            self._state.tasks.add(task)
            task.add_done_callback(self._state.tasks.discard)

    async def _serve_in_task(self, request: Request) -> None:
        try:
            self._finish(await self._application.answer(request), request)
        except BaseException:
            # Cancelled, or a fault of what watches or counts: nobody would ever answer on this connection again.
            self._transport.abort()
            raise

    def _conclude(self, request: Request, outcome: Response | Exception) -> None:
        try:
            self._finish(self._application.conclude(request, outcome), request)
        except BaseException:
            self._transport.abort()
            raise

    def _finish(self, answer: Response, request: Request) -> None:
        self._write(answer, request)
        self._state.total_requests += 1
        self._current = None
        self._since = self._loop.time()
        if request is self._incoming:
            request.discard()
        if self._is_ending or not request.head.keeps_alive:
            self._transport.close()
        else:
            self._start_next()

    def _write(self, answer: Response, request: Request) -> None:
        if self._transport.is_closing():
            return
        if len(answer.body) >= MIN_COMPRESSED_BYTES:
            answer = compressed(answer, request)
        opening = _opening(answer.status, answer.media, tuple(self._state.default_headers))
        headers = b"" if answer.headers is None else _lines(answer.headers)
        head = request.head
        closing = b"connection: close\r\n" if self._is_ending or not head.keeps_alive else b""
        body = b"" if head.is_head else answer.body
        self._transport.write(
            b"%b%bx-request-id: %b\r\n%bcontent-length: %d\r\n\r\n%b"
            % (opening, headers, request.id.encode(), closing, len(answer.body), body)
        )

    def _refuse(self) -> None:
        """Response what is no HTTP; nothing behind it can be understood."""
        self._is_deaf = self._is_ending = True
        if self._incoming is not None:
            self._incoming.abandon()
        elif self._current is None and not self._waiting:
            self._turn_away(error_response(400, "this is no valid HTTP request"))
        self._start_next()

    def _turn_away(self, answer: Response) -> None:
        """Response what is no request, and close the connection."""
        self._is_deaf = self._is_ending = True
        self._write(answer, Request(Head("GET", "", b"", {}, keeps_alive=False), self._transport))
        self._transport.close()

    def _check_time(self) -> None:
        """Cut the connection when the client has kept it waiting for too long; else look again later."""
        left = self._seconds if self._is_served() else self._since + self._seconds - self._loop.time()
        if left <= 0:
            self._transport.abort()
        else:
            self._timer = self._loop.call_later(left, self._check_time)

    def _is_served(self) -> bool:
        return self._current is not None and not self._is_unread
