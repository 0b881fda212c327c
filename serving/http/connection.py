"""HTTP/1.1 connections: parses requests, passes them to the application, and writes responses.

httptools parses, except whole requests whose head is in the cache. The requests of a connection are handled one after
the other, in the order in which they arrive (RFC 9112, 9.3). Invalid HTTP is answered 400 after the requests before
it. Limits on bytes and time protect the server from clients that send or read too slowly.
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
from serving.http.head import HEADER_OVERHEAD, HeadTooLargeError, RequestHead
from serving.http.request import Request
from serving.http.response import MIN_COMPRESSED_BYTES, Response, compress, encode_response, error_response

if TYPE_CHECKING:
    from uvicorn import Config
    from uvicorn.server import ServerState

# After its final response, a connection is closed when the client has been silent for this long, or has sent this much.
LINGER_SECONDS = 1.0
MAX_DISCARDED_BYTES = 16 * 1024 * 1024
# Connections beyond the limit that may linger, so that clients receive their 503; the others are closed at once.
MAX_LINGERING_REJECTIONS = 16


class HttpConnection(asyncio.Protocol):
    """Connection of one client; uvicorn's server creates one for each that connects.

    The connection is aborted when the client takes more than `timeout_keep_alive` seconds to send the next head, to
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
        self._timeout_seconds = config.timeout_keep_alive
        self._max_connections = config.limit_concurrency or math.inf
        # Limit on a head, and on consecutive bytes that neither complete a head nor add to a body: request lines,
        # headers, trailers, and chunk extensions.
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
        self._head_bytes = 0
        self._last_head: RequestHead | None = None
        self._is_between_messages = True
        self._receiving: Request | None = None
        self._overhead_bytes = 0
        self._has_progress = False
        # Requests whose head has arrived, and the one that is being handled.
        self._queue: deque[Request] = deque()
        self._current: Request | None = None
        self._ignores_input = False  # discard further bytes
        self._discarded_bytes = 0
        self._final_response: Response | None = None  # sent after all queued requests, before closing
        self._is_closing = False  # close after the current response
        self._is_lingering = False  # final response written, waiting for the client
        self._is_write_paused = False  # the client does not read

    # Callbacks of the event loop.

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # of TCP
        self._transport = transport
        self._state.connections.add(self)  # type: ignore[arg-type]  # as uvicorn's own protocols
        self._timer = self._loop.call_later(self._timeout_seconds, self._check_timeout)
        excess = len(self._state.connections) - self._max_connections
        if excess > 0:
            self._ignores_input = True
            self._final_response = error_response(503, "too many connections, try again later", {"retry-after": "1"})
            self._handle_next()
        if excess > MAX_LINGERING_REJECTIONS:
            transport.close()

    def connection_lost(self, _: Exception | None) -> None:
        self._state.connections.discard(self)
        self._timer.cancel()
        self._queue.clear()
        if self._receiving is not None:
            self._receiving.abort_body()

    def data_received(self, data: bytes) -> None:
        if self._ignores_input:
            self._discarded_bytes += len(data)
            if self._discarded_bytes > MAX_DISCARDED_BYTES:
                self._transport.abort()
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
            # No other protocol is supported, so the request is handled as if it had not offered one, as the last.
            self._ignores_input = True
        except httptools.HttpParserError as error:
            self._stop_parsing(error.__context__)
        self._overhead_bytes = 0 if self._has_progress else self._overhead_bytes + len(data)
        # Bound on bytes without progress. Whether a complete head is too large is checked in `on_headers_complete`.
        if self._overhead_bytes > 2 * self._max_overhead_bytes:
            self._stop_parsing(HeadTooLargeError())
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
        self._head_bytes = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value
        self._head_bytes += len(name) + len(value) + HEADER_OVERHEAD

    def on_headers_complete(self) -> None:
        self._has_progress = True
        if self._ignores_input:
            return
        if self._head_bytes + len(self._url) > self._max_overhead_bytes:
            raise HeadTooLargeError
        url = httptools.parse_url(self._url)
        path = url.path.decode("ascii")
        self._last_head = RequestHead(
            self._parser.get_method().decode("ascii"),
            unquote(path) if "%" in path else path,
            url.query or b"",
            self._headers,
            self._parser.should_keep_alive() and self._parser.get_http_version() != "1.0",
        )
        # Trailers are dropped: whether they would count must not depend on when they arrive (RFC 9110, 6.5.1).
        self._headers = {}
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
            self._ignores_input = not self._receiving.head.keep_alive
            self._receiving = None

    # Handling, one request after the other.

    def _handle_next(self) -> None:
        if self._is_lingering or self._transport.is_closing():
            return
        if self._current is None and not self._is_write_paused:
            if self._queue:
                self._handle(self._queue.popleft())
            elif self._ignores_input:
                self._close()
                return
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
        is_last = (
            self._is_closing
            or not request.head.keep_alive
            or (self._ignores_input and not self._queue and self._final_response is None)
        )
        self._write(response, request, keep_alive=not is_last)
        self._state.total_requests += 1
        self._current = None
        self._waiting_since = self._loop.time()
        if request is self._receiving:
            request.discard_body()
        if is_last:
            self._final_response = None
            self._close()
        else:
            self._handle_next()

    def _write(self, response: Response, request: Request, *, keep_alive: bool) -> None:
        if self._transport.is_closing():
            return
        if len(response.body) >= MIN_COMPRESSED_BYTES:
            response = compress(response, request.header(b"accept-encoding"))
        encoded = encode_response(
            response,
            request.id,
            tuple(self._state.default_headers),
            keep_alive=keep_alive,
            has_body=not request.head.is_head_request,
        )
        self._transport.write(encoded)

    def _stop_parsing(self, cause: BaseException | None) -> None:
        """Parse nothing after invalid HTTP, because it cannot be understood. The requests before it are handled.

        The response to invalid HTTP is that of the request whose body it is, else `_final_response`.
        """
        if self._ignores_input:
            return
        self._ignores_input = True
        if self._receiving is not None:
            self._receiving.abort_body()
        elif isinstance(cause, HeadTooLargeError):
            self._final_response = error_response(431, "the request line and headers are too large")
        else:
            self._final_response = error_response(400, "this is not a valid HTTP request")

    def _close(self) -> None:
        """Send the final response, if any, and close the connection in stages (RFC 9112, 9.6).

        If it were closed at once, bytes of the client that arrive later would be answered with a TCP reset, on which
        the client drops responses that it has not read.
        """
        if self._final_response is not None:
            head = RequestHead("GET", "", b"", {}, keep_alive=False)
            self._write(self._final_response, Request(head, self._transport), keep_alive=False)
        self._ignores_input = self._is_lingering = True
        self._queue.clear()
        if self._transport.is_closing():
            return
        if not self._transport.can_write_eof():
            # TLS, which has stages of its own: closing waits for the client's close_notify, and discards what it sends.
            self._transport.close()
            return
        self._transport.write_eof()
        if not self._transport.is_reading():
            self._transport.resume_reading()
        self._timer.cancel()
        self._timer = self._loop.call_later(LINGER_SECONDS, self._linger, self._discarded_bytes)

    def _linger(self, discarded_bytes: int) -> None:
        """Close the connection when the client neither sends nor reads any more, or its time is over."""
        is_silent = self._discarded_bytes == discarded_bytes and not self._transport.get_write_buffer_size()
        if is_silent or self._loop.time() > self._waiting_since + self._timeout_seconds:
            self._transport.abort()
        else:
            self._timer = self._loop.call_later(LINGER_SECONDS, self._linger, self._discarded_bytes)

    def _check_timeout(self) -> None:
        """Abort the connection if the client has exceeded its time; else check again when it could have."""
        is_handling = self._current is not None and not self._is_write_paused
        left = self._timeout_seconds if is_handling else self._waiting_since + self._timeout_seconds - self._loop.time()
        if left <= 0:
            self._transport.abort()
        else:
            self._timer = self._loop.call_later(left, self._check_timeout)
