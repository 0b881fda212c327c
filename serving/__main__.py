"""Command `mnistflow-serve` (`python -m serving`): runs the server, or a supervisor of several workers."""

import os
import signal
import socket
import sys
from dataclasses import replace
from pathlib import Path
from types import FrameType

from serving.engine.validation import Validator
from serving.engine.validation_process import ValidationLimits
from serving.errors import StartError
from serving.process import cores
from serving.process.listeners import listen, listen_on_path
from serving.process.parent import stop_with_parent
from serving.process.supervisor import inherited_listener, supervise
from serving.settings import Settings

# What stopping takes besides `--drain-seconds`, before a supervisor kills a worker.
STOP_SECONDS = 5.0


def main() -> None:
    """Run the server. Exits with 0 on SIGTERM or SIGINT, and with 1 and a one-line error when it cannot start."""
    for stop in (signal.SIGTERM, signal.SIGINT):
        # While the server runs, uvicorn handles signals: it finishes running requests, then raises the signal again.
        signal.signal(stop, _exit)
    try:
        settings = Settings.parse(sys.argv[1:])
        settings = replace(settings, workers=settings.workers or cores.usable())
        listener = inherited_listener()
        if settings.grpc_port and listener is None:
            # gRPC opens its port itself, later; a port in use is reported now.
            listen(settings.host, settings.grpc_port, option="--grpc-port")[0].close()
        if settings.workers > 1 and listener is None:
            from serving.http.request_log import configure_logging

            configure_logging(settings.log_format)
            supervise(sys.argv[1:], _listeners(settings), settings.drain_seconds + STOP_SECONDS)
            return
        stop_with_parent()
        listener = listener or _listeners(settings)[0]
        limits = ValidationLimits(settings.slowest_seconds, settings.candidate_seconds, settings.candidate_bytes)
        validator = Validator(settings.repository, limits, settings.public_key)
        # Imported here, because the validator's first process starts up meanwhile.
        from serving.server import serve

        serve(settings, listener, validator)
    except StartError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


def _listeners(settings: Settings) -> list[socket.socket]:
    if settings.uds:
        return listen_on_path(Path(settings.uds), settings.workers)
    return listen(settings.host, settings.port, settings.workers)


def _exit(_: int, __: FrameType | None) -> None:
    """End the process at once, and with it the process that validates versions (see `die_with_parent`).

    An exception could be lost in the code that the signal interrupts, and the interpreter would wait for threads.
    """
    os._exit(0)


if __name__ == "__main__":
    main()
