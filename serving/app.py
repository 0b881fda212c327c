"""Puts the doors into one ASGI application."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING

from serving.endpoints.feedback import FeedbackEndpoint
from serving.endpoints.invocations import InvocationsEndpoints
from serving.endpoints.metrics import MetricsEndpoint
from serving.endpoints.page import PageEndpoints
from serving.endpoints.predict import PredictEndpoints
from serving.endpoints.status import StatusEndpoint
from serving.endpoints.v2 import V2Endpoints
from serving.engine.batcher import BatchLimits
from serving.engine.data_plane import DataPlane
from serving.engine.inference_service import InferenceService
from serving.engine.model_manager import ModelManager
from serving.errors import StartError
from serving.http.application import Application, Middleware
from serving.http.auth import ApiKeys
from serving.http.cors import cors_middleware
from serving.http.request_log import hook_middleware, log_call
from serving.http.router import Router
from serving.inference_log.log import InferenceLog
from serving.metrics.prometheus import Metrics
from serving.process import cores
from serving.settings import Settings

if TYPE_CHECKING:
    from serving.endpoints.grpc import GrpcService
    from serving.http.tracing import Tracing

log = logging.getLogger(__name__)

# Set where OpenTelemetry's own tools expect it.
TRACE_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def create_app(settings: Settings, models: ModelManager, metrics: Metrics) -> Application:
    """Return the application; while it runs, the catalogue follows the repository.

    Raises:
        StartError: packages are missing for what is asked.
    """

    def observe_call(code: str, seconds: float) -> None:
        metrics.requests.record("grpc", code, seconds)

    plane = DataPlane(models, metrics, _limits(settings))
    inference_log = InferenceLog(
        settings.inference_log, settings.logged_per_second, settings.logged_rows, metrics.requests.count_log_dropped
    )
    service = InferenceService(plane, settings, metrics)
    routes = [
        *V2Endpoints(plane, service, settings, inference_log).routes(),
        *PredictEndpoints(plane, settings, inference_log).routes(),
        *FeedbackEndpoint(inference_log).routes(),
        *InvocationsEndpoints(plane, settings, service.describe_server()["version"]).routes(),
        *StatusEndpoint(models, metrics).routes(),
        *PageEndpoints().routes(),
        *MetricsEndpoint(metrics).routes(),
    ]
    api_keys = ApiKeys(settings.keys, settings.admin_keys)
    tracing = _tracing()
    hooks = [tracing.trace_call] if tracing is not None else []
    if settings.log_format == "json":
        hooks.append(log_call)
    grpc_service = None
    if settings.grpc_port:
        grpc_service = _grpc_service_type()(plane, service, settings, api_keys, inference_log, observe_call, hooks)
    running = _running(models, settings.poll_seconds, inference_log, grpc_service, tracing)
    middleware: list[Middleware] = []
    if settings.cors_origins:
        middleware.append(cors_middleware(settings.cors_origins))
    if hooks:
        middleware.append(hook_middleware(hooks))
    return Application(Router(routes, api_keys), metrics.requests.record, running, middleware)


@asynccontextmanager
async def _running(
    models: ModelManager,
    poll_seconds: float,
    inference_log: InferenceLog,
    grpc_service: "GrpcService | None",
    tracing: "Tracing | None",
) -> AsyncIterator[None]:
    """Run what runs beside the HTTP doors; stops it in the reverse order."""
    async with AsyncExitStack() as stack:
        if tracing is not None:
            stack.push_async_callback(asyncio.to_thread, tracing.stop)
        stack.callback(inference_log.close)
        stack.push_async_callback(_cancelled, asyncio.create_task(models.follow(poll_seconds)))
        if grpc_service is not None:
            await grpc_service.start()
            stack.push_async_callback(grpc_service.stop)
        yield


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _limits(settings: Settings) -> BatchLimits:
    threads = settings.threads or max(1, cores.usable() // settings.workers)
    return BatchLimits(settings.batch_rows, settings.queue_rows, settings.queue_seconds, threads)


def _tracing() -> "Tracing | None":
    if not any(os.environ.get(variable) for variable in TRACE_ENDPOINTS):
        return None
    try:
        from serving.http.tracing import Tracing
    except ImportError:
        log.warning("%s is set, but the extra otel is not installed: there are no traces", TRACE_ENDPOINTS[0])
        return None
    return Tracing()


def _grpc_service_type() -> "type[GrpcService]":
    try:
        from serving.endpoints.grpc import GrpcService
    except ImportError:
        raise StartError("--grpc-port needs the extra grpc. Install it: pip install '.[serving,grpc]'.") from None
    return GrpcService
