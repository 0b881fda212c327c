"""gRPC health checking (`grpc.health.v1`), for probes and balancers.

https://github.com/grpc/grpc/blob/master/doc/health-checking.md
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import suppress

import grpc
from grpc_health.v1 import health_pb2 as pb
from grpc_health.v1.health_pb2_grpc import HealthServicer

Context = grpc.aio.ServicerContext[pb.HealthCheckRequest, pb.HealthCheckResponse]


class HealthService(HealthServicer):
    """Service grpc.health.v1.Health: serving means ready, which is checked at each call.

    Args:
        services: names that may be asked for; the empty name is the server as a whole.
        is_ready: returns whether the server is ready.
        poll_seconds: interval of the checks for clients that watch.
    """

    def __init__(self, services: Collection[str], is_ready: Callable[[], Awaitable[bool]], poll_seconds: float) -> None:
        self._services = frozenset(("", *services))
        self._is_ready = is_ready
        self._poll_seconds = poll_seconds
        self._stopping = asyncio.Event()

    async def Check(self, request: pb.HealthCheckRequest, context: Context) -> pb.HealthCheckResponse:  # noqa: N802
        """Return whether the server is ready."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service is served here")
        return pb.HealthCheckResponse(status=await self._status())

    async def Watch(  # noqa: N802
        self,
        request: pb.HealthCheckRequest,
        context: Context,  # noqa: ARG002  # of the interface
    ) -> AsyncIterator[pb.HealthCheckResponse]:
        """Yield whether the server is ready, and again whenever that changes, until the server stops."""
        is_known = request.service in self._services
        former = None
        while True:
            status = await self._status() if is_known else pb.HealthCheckResponse.SERVICE_UNKNOWN
            if status != former:
                yield pb.HealthCheckResponse(status=status)
            if self._stopping.is_set():
                return
            former = status
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._poll_seconds)

    def stop(self) -> None:
        """Tell clients that watch that the server stops, and end their calls."""
        self._stopping.set()

    async def _status(self) -> int:
        is_ready = not self._stopping.is_set() and await self._is_ready()
        return pb.HealthCheckResponse.SERVING if is_ready else pb.HealthCheckResponse.NOT_SERVING
