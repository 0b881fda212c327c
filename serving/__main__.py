"""`python -m serving`: reads the settings, then supervises workers, or serves until told to stop."""

import signal
import sys
from dataclasses import replace
from types import FrameType

from serving.engine.candidate import CandidateLimits
from serving.engine.validation import Validator
from serving.errors import StartError
from serving.process import cores
from serving.process.supervisor import inherited_listener, leave_with_parent, listen, supervise
from serving.settings import Settings


def main() -> None:
    """Run the server; exits 0 when stopped by SIGTERM or SIGINT, 1 with one line when it cannot start."""
    for stop in (signal.SIGTERM, signal.SIGINT):
        # uvicorn finishes what runs, then raises the signal again for this handler.
        signal.signal(stop, _leave)
    try:
        settings = Settings.parse(sys.argv[1:])
        settings = replace(settings, workers=settings.workers or cores.usable())
        listener = inherited_listener()
        if settings.grpc_port and listener is None:
            # gRPC takes no sockets from others; this is to say in time that the port is taken.
            listen(settings.host, settings.grpc_port, option="--grpc-port")[0].close()
        if settings.workers > 1 and listener is None:
            from serving.http.request_log import configure_logging

            configure_logging(settings.log_format)
            supervise(sys.argv[1:], listen(settings.host, settings.port, settings.workers))
        leave_with_parent()
        listener = listener or listen(settings.host, settings.port)[0]
        limits = CandidateLimits(settings.slowest_seconds, settings.candidate_seconds, settings.candidate_bytes)
        validator = Validator(settings.repository, limits)
        # Not above: the validator's first process gets ready while this is imported.
        from serving.server import serve

        serve(settings, listener, validator)
    except StartError as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(1)


def _leave(_: int, __: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
