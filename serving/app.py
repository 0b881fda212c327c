"""Application: composes endpoints, data plane, inference log and metrics. A new endpoint is a line in `create_app`."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from serving.endpoints.feedback import FeedbackEndpoint
from serving.endpoints.generate import GenerateEndpoints
from serving.endpoints.invocations import InvocationsEndpoints
from serving.endpoints.metrics import MetricsEndpoint
from serving.endpoints.page import PageEndpoints
from serving.endpoints.predict import PredictEndpoints
from serving.endpoints.review import ReviewEndpoints
from serving.endpoints.status import StatusEndpoint
from serving.endpoints.triton import TritonEndpoints
from serving.endpoints.v2 import V2Endpoints
from serving.engine.batcher import BatchLimits
from serving.engine.data_plane import DataPlane
from serving.engine.model_manager import ModelManager
from serving.engine.protocol_handlers import ProtocolHandlers
from serving.errors import StartError
from serving.http.application import Application, Middleware
from serving.http.auth import ApiKeys
from serving.http.body_parser import BodyParser
from serving.http.cors import cors_middleware
from serving.http.request_log import CallHook, hook_middleware, log_call
from serving.http.router import Router
from serving.http.tls import Certificate
from serving.images.converter import ImageConverter
from serving.inference_log.log import InferenceLog
from serving.metrics.prometheus import Metrics
from serving.process import cores
from serving.settings import Settings

if TYPE_CHECKING:
    from serving.grpc.service import GrpcService
    from serving.http.tracing import Tracing

log = logging.getLogger(__name__)

# OpenTelemetry's own variables for the address that receives traces.
TRACE_VARIABLES = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


def create_app(
    settings: Settings, models: ModelManager, metrics: Metrics, certificate: Certificate | None
) -> Application:
    """Return the application. While it runs, the models follow the repository, and gRPC requests are served.

    Raises:
        StartError: a package that the settings need is missing.
    """
    limits = _batch_limits(settings)
    plane = DataPlane(models, metrics, limits)
    converter = ImageConverter(limits.threads, limits.queue_rows, limits.queue_seconds)
    metrics.waiting_images = lambda: converter.waiting
    tracing = _tracing()
    handlers = ProtocolHandlers(plane, settings, metrics, is_tracing=tracing is not None)
    inference_log = InferenceLog(
        settings.inference_log, settings.logged_per_second, settings.logged_rows, metrics.requests.count_log_dropped
    )
    api_keys = ApiKeys(settings.keys, settings.admin_keys)
    body_parser = BodyParser()
    routes = [
        *V2Endpoints(plane, handlers, settings, inference_log, body_parser).routes(),
        *TritonEndpoints(handlers, settings).routes(),
        *PredictEndpoints(plane, converter, settings, inference_log, body_parser).routes(),
        *GenerateEndpoints(plane).routes(),
        *FeedbackEndpoint(inference_log, api_keys).routes(),
        *ReviewEndpoints(inference_log, api_keys).routes(),
        *InvocationsEndpoints(plane, settings, handlers.describe_server()["version"], body_parser).routes(),
        *StatusEndpoint(models, metrics).routes(),
        *PageEndpoints().routes(),
        *MetricsEndpoint(metrics).routes(),
    ]
    hooks = [tracing.trace_call] if tracing is not None else []
    if settings.log_format == "json":
        hooks.append(log_call)
    grpc_service = None
    if settings.grpc_port:
        record_call = partial(metrics.requests.record, "grpc")
        grpc_service = _grpc_service_type()(
            plane, handlers, settings, api_keys, inference_log, certificate, record_call, hooks
        )
    lifespan = _lifespan(models, settings.poll_seconds, inference_log, grpc_service, tracing)
    drain = None if grpc_service is None else grpc_service.stop
    router = Router(routes, api_keys)
    return Application(router, metrics.requests.record, lifespan, _middleware(settings, hooks, router), drain)


def _middleware(settings: Settings, hooks: Sequence[CallHook], router: Router) -> list[Middleware]:
    middleware = []
    if settings.cors_origins:
        middleware.append(cors_middleware(settings.cors_origins))
    if hooks:
        middleware.append(hook_middleware(hooks, router))
    return middleware


@asynccontextmanager
async def _lifespan(
    models: ModelManager,
    poll_seconds: float,
    inference_log: InferenceLog,
    grpc_service: "GrpcService | None",
    tracing: "Tracing | None",
) -> AsyncIterator[None]:
    """Run the background tasks and the gRPC service; stops them in reverse order."""
    async with AsyncExitStack() as stack:
        if tracing is not None:
            stack.push_async_callback(asyncio.to_thread, tracing.stop)
        stack.callback(inference_log.close)
        stack.push_async_callback(_cancel, asyncio.create_task(models.follow(poll_seconds)))
        if grpc_service is not None:
            await grpc_service.start()
            stack.push_async_callback(grpc_service.stop)
        yield


async def _cancel(task: asyncio.Task[None]) -> None:
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def _batch_limits(settings: Settings) -> BatchLimits:
    threads = settings.threads or max(1, cores.usable() // settings.workers)
    return BatchLimits(settings.batch_rows, settings.queue_rows, settings.queue_seconds, threads)


def _tracing() -> "Tracing | None":
    if not any(os.environ.get(variable) for variable in TRACE_VARIABLES):
        return None
    try:
        from serving.http.tracing import Tracing
    except ImportError:
        log.warning("%s is set, but the extra otel is not installed: no traces are sent", TRACE_VARIABLES[0])
        return None
    return Tracing()


def _grpc_service_type() -> "type[GrpcService]":
    try:
        from serving.grpc.service import GrpcService
    except ImportError:
        raise StartError("--grpc-port needs the extra grpc. Install it: pip install '.[serving,grpc]'.") from None
    return GrpcService
