"""The server as a whole: the champions behind the doors, on a listening socket."""

import logging
import math
import socket
import sys

import uvicorn

from serving.app import create_app
from serving.engine.availability import Availability
from serving.engine.model_manager import ModelManager
from serving.engine.repository import ModelRepository
from serving.engine.rollout import ChallengerLimits
from serving.engine.validation import Validator
from serving.errors import NotReadyError, UnknownModelError
from serving.http.connection import HttpConnection
from serving.http.request_log import configure_logging
from serving.metrics.prometheus import Metrics
from serving.process.supervisor import shared_folder
from serving.protocol.pixels import IS_COMPILED
from serving.settings import Settings

log = logging.getLogger(__name__)


class ModelServer(uvicorn.Server):
    """Loads the champions first, and prints one line when requests are answered."""

    def __init__(self, config: uvicorn.Config, models: ModelManager, doors: str) -> None:
        super().__init__(config)
        self._models = models
        self._doors = doors

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        await self._models.open()
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            sys.stdout.write(f"mnistflow serves {_summary(self._models)} on {self._doors}\n")
            sys.stdout.flush()


def serve(settings: Settings, listener: socket.socket, validator: Validator) -> None:
    """Serve on a listening socket until stopped by a signal.

    Raises:
        StartError: there is nothing to serve.
    """
    configure_logging(settings.log_format)
    if not IS_COMPILED:
        log.info(
            "the compiled part, which reads pixels in JSON four times as fast, is missing: "
            "install a C compiler and Python's headers, then this server again"
        )
    metrics = Metrics()
    with listener:
        models = ModelManager(
            ModelRepository(settings.repository),
            metrics,
            settings.model,
            settings.resident_versions,
            validator,
            ChallengerLimits(settings.rollout_seconds, settings.rollout_bad_share),
            Availability(shared_folder()),
        )
        config = uvicorn.Config(
            create_app(settings, models, metrics),
            http=HttpConnection,
            ws="none",
            log_level="error",
            # Its loggers do as all others.
            log_config=None,
            access_log=False,
            lifespan="on",
            server_header=False,
            proxy_headers=False,
            limit_concurrency=settings.max_connections,
            h11_max_incomplete_event_size=settings.max_head_bytes,
            timeout_keep_alive=math.ceil(settings.receive_seconds),
            timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
        )
        doors = _address("http", *listener.getsockname()[:2])
        if settings.grpc_port:
            doors = f"{_address('grpc', settings.host, settings.grpc_port)} and {doors}"
        ModelServer(config, models, doors).run([listener])


def _summary(models: ModelManager) -> str:
    champions = sorted(models.champions, key=lambda model: model.name)
    said = ", ".join(f"{model.name} version {model.version}" for model in champions)
    if len(champions) < 2:
        return said
    try:
        return f"{said}; pictures go to {models.image_classifier().name},"
    except (NotReadyError, UnknownModelError):
        return said


def _address(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
