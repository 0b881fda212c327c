"""`python -m serving`: reads the settings, loads the champions, serves until told to stop."""

import math
import signal
import socket
import sys
from types import FrameType

import uvicorn

from serving.app import create_app
from serving.catalogue import Catalogue
from serving.connection import HttpConnection
from serving.errors import StartError
from serving.metrics import Metrics
from serving.repository import ModelRepository
from serving.rollout import Tolerance
from serving.settings import Settings
from serving.switches import Switches
from serving.telemetry import configure_logging
from serving.workers import inherited_listener, leave_with_parent, listen, shared_folder, supervise


class AnnouncingServer(uvicorn.Server):
    """Prints one line when requests are answered."""

    def __init__(self, config: uvicorn.Config, announcement: str) -> None:
        super().__init__(config)
        self._announcement = announcement

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            sys.stdout.write(self._announcement + "\n")
            sys.stdout.flush()


def main() -> None:
    """Run the server; exits 0 when stopped by SIGTERM or SIGINT, 1 with one line when it cannot start."""
    for stop in (signal.SIGTERM, signal.SIGINT):
        # uvicorn finishes what runs, then raises the signal again for this handler.
        signal.signal(stop, _leave)
    try:
        settings = Settings.parse(sys.argv[1:])
        configure_logging(settings.log_format)
        listener = inherited_listener()
        if settings.grpc_port and listener is None:
            # gRPC takes no sockets from others; this is to say in time that the port is taken.
            listen(settings.host, settings.grpc_port, option="--grpc-port")[0].close()
        if settings.workers > 1 and listener is None:
            supervise(sys.argv[1:], listen(settings.host, settings.port, settings.workers))
        else:
            leave_with_parent()
            serve(settings, listener or listen(settings.host, settings.port)[0])
    except StartError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


def serve(settings: Settings, listener: socket.socket) -> None:
    """Serve on a listening socket until stopped by a signal.

    Raises:
        StartError: there is nothing to serve.
    """
    metrics = Metrics()
    with listener:
        catalogue = Catalogue(
            ModelRepository(settings.repository),
            metrics,
            settings.model,
            settings.resident_versions,
            settings.slowest_seconds,
            Tolerance(settings.rollout_seconds, settings.rollout_bad_share),
            Switches(shared_folder()),
        )
        catalogue.open()
        config = uvicorn.Config(
            create_app(settings, catalogue, metrics),
            http=HttpConnection,
            ws="none",
            log_level="error",
            # Its loggers do as all others.
            log_config=None,
            access_log=False,
            lifespan="on",
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=math.ceil(settings.receive_seconds),
            timeout_graceful_shutdown=math.ceil(settings.drain_seconds),
        )
        doors = _address("http", *listener.getsockname()[:2])
        if settings.grpc_port:
            doors = f"{_address('grpc', settings.host, settings.grpc_port)} and {doors}"
        AnnouncingServer(config, f"mnistflow serves {_summary(catalogue)} on {doors}").run([listener])


def _summary(catalogue: Catalogue) -> str:
    return ", ".join(f"{model.name} version {model.version}" for model in catalogue.champions)


def _address(scheme: str, host: str, port: int) -> str:
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def _leave(_: int, __: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
