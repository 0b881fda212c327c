"""uvicorn server: loads the models, listens on a socket, and prints one line when it answers requests."""

import asyncio
import logging
import math
import socket
import sys
from pathlib import Path

import uvicorn

from serving.app import create_app
from serving.engine.availability import Availability
from serving.engine.challenger.rollout import ChallengerLimits
from serving.engine.model_manager import ModelManager
from serving.engine.repository import ModelRepository
from serving.engine.signature import TrustedKey
from serving.engine.validation import Validator
from serving.errors import NotReadyError, StartError, UnknownModelError
from serving.http.application import Application
from serving.http.connection import HttpConnection
from serving.http.request_log import configure_logging
from serving.http.tls import Certificate
from serving.metrics.prometheus import Metrics
from serving.process import listeners
from serving.process.supervisor import shared_folder
from serving.protocol.pixels import IS_COMPILED
from serving.settings import Settings

log = logging.getLogger(__name__)


class ModelServer(uvicorn.Server):
    """uvicorn's server, which loads the champions before it starts and announces its addresses afterwards."""

    def __init__(self, config: uvicorn.Config, app: Application, models: ModelManager, addresses: str) -> None:
        super().__init__(config)
        self._app = app
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

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let HTTP requests and gRPC calls finish at the same time, then stop."""
        await asyncio.gather(super().shutdown(sockets), self._app.drain())


def serve(settings: Settings, listener: socket.socket, validator: Validator) -> None:
    """Serve on a listening socket until a signal stops the server.

    Raises:
        StartError: there is no champion that is fit to serve, a package is missing, or the certificate is not valid.
    """
    configure_logging(settings.log_format)
    if not IS_COMPILED:
        log.info(
            "the compiled extension, which parses pixels in JSON four times as fast, is missing: "
            "install a C compiler and Python's headers, then reinstall this server"
        )
    metrics = Metrics()
    models = ModelManager(
        ModelRepository(settings.repository, _trusted_key(settings)),
        metrics,
        settings.model,
        settings.resident_versions,
        validator,
        ChallengerLimits(settings.rollout_seconds, settings.rollout_bad_share),
        Availability(shared_folder()),
    )
    certificate = _certificate(settings)
    app = create_app(settings, models, metrics, certificate)
    secure = "" if certificate is None else "s"
    with listener:
        addresses = listeners.address(listener, f"http{secure}")
        if settings.grpc_port:
            addresses = f"{listeners.url(f'grpc{secure}', settings.host, settings.grpc_port)} and {addresses}"
        ModelServer(_config(settings, app, certificate), app, models, addresses).run([listener])


def _trusted_key(settings: Settings) -> TrustedKey | None:
    return TrustedKey(Path(settings.public_key)) if settings.public_key else None


def _certificate(settings: Settings) -> Certificate | None:
    if bool(settings.tls_cert) != bool(settings.tls_key):
        raise StartError("TLS needs both --tls-cert and --tls-key. Give both or neither.")
    return Certificate(Path(settings.tls_cert), Path(settings.tls_key)) if settings.tls_cert else None


def _config(settings: Settings, app: Application, certificate: Certificate | None) -> uvicorn.Config:
    return uvicorn.Config(
        app,
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
        ssl_context_factory=None if certificate is None else lambda *_: certificate.context,
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
