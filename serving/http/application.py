"""Application: runs the handler of each request, turns exceptions into responses, and records metrics."""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

from serving.http.head import RequestHeadCache
from serving.http.request import Request
from serving.http.response import Response, exception_response
from serving.http.router import OnResponse, RequestHandler, Router

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
# Returns a handler that adds something to the given one.
Middleware = Callable[[RequestHandler], RequestHandler]


class Application:
    """HTTP application made of routes.

    Args:
        router: finds the handlers of requests.
        record: called with endpoint, status and seconds of every request.
        lifespan: entered when the server starts, exited when it stops.
        middleware: wrapped around the handlers, the last outermost. With any, there is no callback fast path.
        drain: waits for what is served besides HTTP, while the server waits for the requests; None for nothing.

    Attributes:
        heads: cache of request heads, shared by all connections.
    """

    def __init__(
        self,
        router: Router,
        record: Callable[[str, int, float], None],
        lifespan: AbstractAsyncContextManager[None],
        middleware: Sequence[Middleware] = (),
        drain: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._router = router
        self._record = record
        self._lifespan = lifespan
        self._drain = drain
        self._has_middleware = bool(middleware)
        self._handler: RequestHandler = self._run_handler
        for wrap in middleware:
            self._handler = wrap(self._handler)
        self.heads = RequestHeadCache()

    async def handle(self, request: Request) -> Response:
        """Return the response to a request; exceptions become error responses."""
        return await self._handler(request)

    def try_callback(self, request: Request, on_response: OnResponse) -> bool:
        """Handle a request by the callback fast path of its route.

        Args:
            request: to handle.
            on_response: called once, later, with what `finish` takes.

        Returns:
            False if the request needs `handle` instead.
        """
        match = self._router.match(request.head)
        if match.callback_handler is None or self._has_middleware:
            return False
        try:
            if match.check is not None:
                match.check(request.header(b"authorization"))
            return bool(match.callback_handler(request, on_response, *match.groups))
        except Exception as error:
            # Not called here, because the connection is still busy with starting the request.
            asyncio.get_running_loop().call_soon(on_response, request, error)
            return True

    def finish(self, request: Request, result: Response | Exception) -> Response:
        """Record the metrics of a request that has been handled, and return its response."""
        response = result if isinstance(result, Response) else exception_response(result)
        endpoint = self._router.match(request.head).endpoint
        self._record(endpoint, response.status, time.perf_counter() - request.start)
        return response

    async def drain(self) -> None:
        """Wait for what is served besides HTTP. Called when the server begins to stop."""
        if self._drain is not None:
            await self._drain()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Run the lifespan protocol of ASGI. Requests do not come by ASGI but by `try_callback` and `handle`."""
        if scope["type"] != "lifespan":
            raise ValueError(f"only lifespan is supported, not {scope['type']}")
        await receive()
        async with self._lifespan:
            await send({"type": "lifespan.startup.complete"})
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _run_handler(self, request: Request) -> Response:
        result: Response | Exception
        match = self._router.match(request.head)
        try:
            if match.check is not None:
                match.check(request.header(b"authorization"))
            result = await match.handler(request, *match.groups)
        except Exception as error:
            result = error
        return self.finish(request, result)
