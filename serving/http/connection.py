"""HTTP/1.1 connections: parses requests, passes them to the application, and writes responses.

httptools parses, except whole requests whose head is in the cache. The requests of a connection are handled one after
the other, in the order in which they arrive (RFC 9112, 9.3). Limits on bytes and time protect the server from clients
that send or read too slowly.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import httptools

from serving.http.application import Application
from serving.http.head import RequestHead
from serving.http.request import Request
from serving.http.response import MIN_COMPRESSED_BYTES, Response, compress, encode_response, error_response

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState


class HttpConnection(asyncio.Protocol):
    """Connection of one client; uvicorn's server creates one for each that connects.

    The connection is closed when the client takes more than `timeout_keep_alive` seconds to send the next head, to
    finish a body whose request has been answered, or to read its responses.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],  # noqa: ARG002  # uvicorn passes it by name
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self._application: Application = config.loaded_app
        self._seconds = config.timeout_keep_alive
        self._max_connections = config.limit_concurrency or math.inf
        # Limit on consecutive bytes that neither complete a head nor add to a body: request lines, headers, trailers,
        # and chunk extensions.
        self._max_overhead_bytes = config.h11_max_incomplete_event_size or math.inf
        self._state = server_state
        self._loop = _loop or asyncio.get_running_loop()
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle
        # Start of the current wait for the client, on the clock of the event loop.
        self._waiting_since = self._loop.time()
        # State of the parser: the message that arrives.
        self._url = b""
        self._headers: dict[bytes, bytes] = {}
        self._last_head: RequestHead | None = None
        self._is_between_messages = True
        self._receiving: Request | None = None
        self._overhead_bytes = 0
        self._has_progress = False
        # Requests whose head has arrived, and the one that is being handled.
        self._queue: deque[Request] = deque()
        self._current: Request | None = None
        # Whether further bytes are ignored, whether to close after the current response, and whether the client
        # does not read what is written.
        self._ignores_input = False
        self._is_closing = False
        self._is_write_paused = False

    # Callbacks of the event loop.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of TCP
        self._transport = transport
        self._state.connections.add(self)  # type: ignore[arg-type]  # as uvicorn's own protocols
        self._timer = self._loop.call_later(self._seconds, self._check_timeout)
        if len(self._state.connections) > self._max_connections:
            self._reject(error_response(503, "too many connections, try again later", {"retry-after": "1"}))

    def connection_lost(self, _: Exception | None) -> None:
        self._state.connections.discard(self)
        self._timer.cancel()
        self._queue.clear()
        if self._receiving is not None:
            self._receiving.abort_body()

    def data_received(self, data: bytes) -> None:
        if self._ignores_input:
            return
        if self._is_between_messages and (cached := self._application.heads.get(data)) is not None:
            head, body = cached
            self._overhead_bytes = 0
            request = Request(head, self._transport, body)
            if self._current is None and not self._queue and not self._is_write_paused:
                self._handle(request)
            else:
                self._waiting_since = self._loop.time()
                self._queue.append(request)
                self._handle_next()
        else:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        self._has_progress = False
        starts_message, self._last_head = self._is_between_messages, None
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # No other protocol is supported, so the request is handled as if it had not offered one.
            self._ignores_input = self._is_closing = True
        except httptools.HttpParserError:
            self._on_parse_error()
            return
        self._overhead_bytes = 0 if self._has_progress else self._overhead_bytes + len(data)
        if self._overhead_bytes > self._max_overhead_bytes:
            self._transport.abort()
        if starts_message and self._is_between_messages and self._last_head is not None and not self._ignores_input:
            self._application.heads.put(data, self._last_head)
        self._handle_next()

    def pause_writing(self) -> None:
        self._is_write_paused = True
        self._waiting_since = self._loop.time()

    def resume_writing(self) -> None:
        self._is_write_paused = False
        self._handle_next()

    def shutdown(self) -> None:
        """Close the connection after the current response; uvicorn calls this when the server stops."""
        self._is_closing = True
        if self._current is None:
            self._transport.close()

    # Callbacks of the parser.

    def on_message_begin(self) -> None:
        self._is_between_messages = False
        self._waiting_since = self._loop.time()
        self._url = b""
        self._headers = {}

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        self._has_progress = True
        url = httptools.parse_url(self._url)
        path = url.path.decode("ascii")
        self._last_head = RequestHead(
            self._parser.get_method().decode("ascii"),
            unquote(path) if "%" in path else path,
            url.query or b"",
            self._headers,
            self._parser.should_keep_alive() and self._parser.get_http_version() != "1.0",
        )
        self._receiving = Request(self._last_head, self._transport)
        self._queue.append(self._receiving)

    def on_body(self, body: bytes) -> None:
        self._has_progress = True
        if self._receiving is not None:
            self._receiving.feed_body(body)

    def on_message_complete(self) -> None:
        self._is_between_messages = True
        self._has_progress = True
        self._waiting_since = self._loop.time()
        if self._receiving is not None:
            self._receiving.complete_body()
            self._receiving = None

    # Handling, one request after the other.

    def _handle_next(self) -> None:
        if self._transport.is_closing():
            return
        if self._current is None and not self._is_write_paused:
            if self._queue:
                self._handle(self._queue.popleft())
            if not self._queue and not self._transport.is_reading():
                self._transport.resume_reading()
        if self._queue:
            self._transport.pause_reading()

    def _handle(self, request: Request) -> None:
        self._current = request
        request.start = time.perf_counter()
        if not self._application.try_callback(request, self._on_response):
            task = self._loop.create_task(self._handle_in_task(request))
            self._state.tasks.add(task)
            task.add_done_callback(self._state.tasks.discard)

    async def _handle_in_task(self, request: Request) -> None:
        try:
            self._respond(await self._application.handle(request), request)
        except BaseException:
            # The task was cancelled, or metrics or middleware failed: this connection would never get a response.
            self._transport.abort()
            raise

    def _on_response(self, request: Request, result: Response | Exception) -> None:
        try:
            self._respond(self._application.finish(request, result), request)
        except BaseException:
            self._transport.abort()
            raise

    def _respond(self, response: Response, request: Request) -> None:
        self._write(response, request)
        self._state.total_requests += 1
        self._current = None
        self._waiting_since = self._loop.time()
        if request is self._receiving:
            request.discard_body()
        if self._is_closing or not request.head.keep_alive:
            self._transport.close()
        else:
            self._handle_next()

    def _write(self, response: Response, request: Request) -> None:
        if self._transport.is_closing():
            return
        if len(response.body) >= MIN_COMPRESSED_BYTES:
            response = compress(response, request.header(b"accept-encoding"))
        keep_alive = request.head.keep_alive and not self._is_closing
        encoded = encode_response(
            response,
            request.id,
            tuple(self._state.default_headers),
            keep_alive=keep_alive,
            has_body=not request.head.is_head_request,
        )
        self._transport.write(encoded)

    def _on_parse_error(self) -> None:
        """Stop parsing, because nothing after invalid HTTP can be understood; finish the requests before it."""
        self._ignores_input = self._is_closing = True
        if self._receiving is not None:
            self._receiving.abort_body()
        elif self._current is None and not self._queue:
            self._reject(error_response(400, "this is not a valid HTTP request"))
        self._handle_next()

    def _reject(self, response: Response) -> None:
        """Send a response that belongs to no request, and close the connection."""
        self._ignores_input = self._is_closing = True
        self._write(response, Request(RequestHead("GET", "", b"", {}, keep_alive=False), self._transport))
        self._transport.close()

    def _check_timeout(self) -> None:
        """Abort the connection if the client has exceeded its time; else check again when it could have."""
        is_handling = self._current is not None and not self._is_write_paused
        left = self._seconds if is_handling else self._waiting_since + self._seconds - self._loop.time()
        if left <= 0:
            self._transport.abort()
        else:
            self._timer = self._loop.call_later(left, self._check_timeout)
