"""Command `mnistflow-serve` (`python -m serving`): runs the server, or a supervisor of several workers."""

import signal
import sys
from dataclasses import replace
from types import FrameType

from serving.engine.candidate import CandidateLimits
from serving.engine.validation import Validator
from serving.errors import StartError
from serving.process import cores
from serving.process.supervisor import inherited_listener, listen, stop_with_parent, supervise
from serving.settings import Settings


def main() -> None:
    """Run the server. Exits with 0 on SIGTERM or SIGINT, and with 1 and a one-line error when it cannot start."""
    for stop in (signal.SIGTERM, signal.SIGINT):
        # uvicorn finishes running requests, then raises the signal again for this handler.
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
            supervise(sys.argv[1:], listen(settings.host, settings.port, settings.workers))
        stop_with_parent()
        listener = listener or listen(settings.host, settings.port)[0]
        limits = CandidateLimits(settings.slowest_seconds, settings.candidate_seconds, settings.candidate_bytes)
        validator = Validator(settings.repository, limits)
        # Imported here, because the validator's first process starts up meanwhile.
        from serving.server import serve

        serve(settings, listener, validator)
    except StartError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


def _exit(_: int, __: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
