"""Prefect server of one command: `python -m flows.orchestration.temporary_server PORT`.

It is started as Prefect starts its temporary servers: the command line of Prefect would take a fifth of the time until
the server answers.
"""

import gc
import os
import sys

from flows.processes.addresses import LOOPBACK

# It only records the run: nobody needs its UI or its scheduler.
RECORDS_ONLY = {
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
}


def main() -> None:
    """Serve until a signal ends the process. Variables that the user has set win."""
    os.environ.update(RECORDS_ONLY | os.environ)
    # Classes and functions are not garbage: without collections, the imports take a seventh less time.
    gc.disable()
    import uvicorn
    from prefect.server.api.server import create_app

    application = create_app()
    gc.freeze()
    gc.enable()
    uvicorn.run(application, host=LOOPBACK, port=int(sys.argv[1]), log_level="warning")


if __name__ == "__main__":
    main()
