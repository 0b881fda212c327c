"""HTTP connections with limits on what comes around the bodies: request lines, headers, trailers, chunk sizes."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from serving.web import CLIENT_GONE

MAX_OVERHEAD_BYTES = 64 * 1024


class BoundedHttpProtocol(HttpToolsProtocol):
    """Closes connections that send endless heads, or do not finish one within uvicorn's keep-alive time.

    Bodies have limits of their own, held where they are read.
    """

    _head_timer: asyncio.TimerHandle | None = None
    _overhead_bytes = 0
    _progress = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as in uvicorn
        super().connection_made(transport)
        self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._progress = False
        super().data_received(data)
        self._overhead_bytes = 0 if self._progress else self._overhead_bytes + len(data)
        if self._overhead_bytes > MAX_OVERHEAD_BYTES:
            self.transport.abort()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"][CLIENT_GONE] = self.transport.is_closing
        self._expect_head()

    def on_headers_complete(self) -> None:
        self._progress = True
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._progress = True
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._progress = True
        super().on_message_complete()

    def _expect_head(self) -> None:
        self._stop_timer()
        self._head_timer = self.loop.call_later(self.timeout_keep_alive, self.transport.abort)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
