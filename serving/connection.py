"""HTTP/1.1 connections: bytes in, requests to the application, answers out; with limits on what a client may send.

httptools parses. Requests of a connection are answered one after the other, in the order in which they came
(RFC 9112, 9.3). A request is started when the bytes at hand are parsed, so that a small one is there as a whole.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools

from serving.web import Answer, Application, Request, compressed, error_answer

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState

STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
# Not in the standard, but what nginx logs for a client that has left.
STATUS_LINES[499] = b"HTTP/1.1 499 Client Closed Request\r\n"


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
            self._turn_away(error_answer(503, "too many connections, try again later", {"retry-after": "1"}))

    def connection_lost(self, _: Exception | None) -> None:
        self._state.connections.discard(self)
        self._timer.cancel()
        self._waiting.clear()
        if self._incoming is not None:
            self._incoming.abandon()

    def data_received(self, data: bytes) -> None:
        if self._is_deaf:
            return
        self._is_progressing = False
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
        self._incoming = request = Request(
            self._parser.get_method().decode("ascii"),
            unquote(path) if "%" in path else path,
            url.query or b"",
            self._headers,
            self._transport,
        )
        request.keeps_alive = self._parser.should_keep_alive() and self._parser.get_http_version() != "1.0"
        self._waiting.append(request)

    def on_body(self, body: bytes) -> None:
        self._is_progressing = True
        if self._incoming is not None:
            self._incoming.feed(body)

    def on_message_complete(self) -> None:
        self._is_progressing = True
        self._since = self._loop.time()
        if self._incoming is not None:
            self._incoming.finish()
            self._incoming = None

    # Requests, one after the other.

    def _start_next(self) -> None:
        if self._current is not None or self._is_unread or self._transport.is_closing():
            return
        if self._waiting:
            self._current = request = self._waiting.popleft()
            task = self._loop.create_task(self._serve(request))
            self._state.tasks.add(task)
            task.add_done_callback(self._state.tasks.discard)
        if self._waiting:
            self._transport.pause_reading()
        elif not self._transport.is_reading():
            self._transport.resume_reading()

    async def _serve(self, request: Request) -> None:
        try:
            answer = await self._application.answer(request)
        except BaseException:
            # Cancelled, or a fault of what watches or counts: nobody would ever answer on this connection again.
            self._transport.abort()
            raise
        self._write(answer, request)
        self._state.total_requests += 1
        self._current = None
        self._since = self._loop.time()
        request.discard()
        if self._is_ending or not request.keeps_alive:
            self._transport.close()
        else:
            self._start_next()

    def _write(self, answer: Answer, request: Request) -> None:
        if self._transport.is_closing():
            return
        answer = compressed(answer, request)
        lines = [STATUS_LINES[answer.status], b"content-type: ", answer.media.encode("latin-1"), b"\r\n"]
        for name, value in self._state.default_headers:
            lines += (name, b": ", value, b"\r\n")
        if answer.headers:
            for header, text in answer.headers.items():
                lines += (header.lower().encode("latin-1"), b": ", text.encode("latin-1"), b"\r\n")
        lines += (b"x-request-id: ", request.id.encode("latin-1"), b"\r\n")
        if self._is_ending or not request.keeps_alive:
            lines.append(b"connection: close\r\n")
        lines.append(b"content-length: %d\r\n\r\n" % len(answer.body))
        if not request.is_head:
            lines.append(answer.body)
        self._transport.write(b"".join(lines))

    def _refuse(self) -> None:
        """Answer what is no HTTP; nothing behind it can be understood."""
        self._is_deaf = self._is_ending = True
        if self._incoming is not None:
            self._incoming.abandon()
        elif self._current is None and not self._waiting:
            self._turn_away(error_answer(400, "this is no valid HTTP request"))
        self._start_next()

    def _turn_away(self, answer: Answer) -> None:
        """Answer what is no request, and close the connection."""
        self._is_deaf = self._is_ending = True
        self._write(answer, Request("GET", "", b"", {}, self._transport))
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
