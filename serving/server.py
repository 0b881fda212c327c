"""uvicorn server: loads the models, listens on a socket, and prints one line when it answers requests."""

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
    """uvicorn's server, which loads the champions before it starts and announces its addresses afterwards."""

    def __init__(self, config: uvicorn.Config, models: ModelManager, addresses: str) -> None:
        super().__init__(config)
        self._models = models
        self._addresses = addresses

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        """Load the champions, then serve until a signal."""
        await self._models.open()
        await super().serve(sockets)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start listening, then print which models serve and where."""
        await super().startup(sockets)
        if self.started:
            sys.stdout.write(f"mnistflow serves {_summary(self._models)} on {self._addresses}\n")
            sys.stdout.flush()


def serve(settings: Settings, listener: socket.socket, validator: Validator) -> None:
    """Serve on a listening socket until a signal stops the server.

    Raises:
        StartError: there is no champion that is fit to serve, or a package is missing.
    """
    configure_logging(settings.log_format)
    if not IS_COMPILED:
        log.info(
            "the compiled extension, which parses pixels in JSON four times as fast, is missing: "
            "install a C compiler and Python's headers, then reinstall this server"
        )
    metrics = Metrics()
    models = ModelManager(
        ModelRepository(settings.repository),
        metrics,
        settings.model,
        settings.resident_versions,
        validator,
        ChallengerLimits(settings.rollout_seconds, settings.rollout_bad_share),
        Availability(shared_folder()),
    )
    with listener:
        addresses = _address("http", *listener.getsockname()[:2])
        if settings.grpc_port:
            addresses = f"{_address('grpc', settings.host, settings.grpc_port)} and {addresses}"
        ModelServer(_config(settings, models, metrics), models, addresses).run([listener])


def _config(settings: Settings, models: ModelManager, metrics: Metrics) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(settings, models, metrics),
        http=HttpConnection,
        ws="none",
        log_level="error",
        # uvicorn's loggers use the handlers of `configure_logging`.
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


def _summary(models: ModelManager) -> str:
    champions = sorted(models.champions, key=lambda model: model.name)
    names = ", ".join(f"{model.name} version {model.version}" for model in champions)
    if len(champions) < 2:
        return names
    try:
        return f"{names}; images go to {models.image_classifier().name},"
    except (NotReadyError, UnknownModelError):
        return names


def _address(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
