"""Prefect API of a command: the configured one, a running one, or a server that the command starts for itself.

This module owns the environment variable `PREFECT_API_URL` of a command that runs a flow.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from flows.orchestration import server_address
from flows.processes import process_guard
from mnistflow.errors import MnistflowError
from mnistflow.files import remove
from mnistflow.paths import Paths

LOCAL = "127.0.0.1"
START_SECONDS = 600  # limit for a server that hangs; one that has exited is noticed at once
POLL_SECONDS = 0.1

# A server of one command only records the run: it needs neither the UI nor the scheduler. It is started as Prefect
# starts its temporary servers: the command line of Prefect would take a fifth of the time until the server answers.
RECORDS_ONLY = {
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_REGISTER_BLOCKS_ON_START": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
}


@dataclass(frozen=True)
class Api:
    """The Prefect API that `PREFECT_API_URL` names.

    Attributes:
        own: process of the server if this command has started it.
        log: output of that server.
    """

    url: str
    own: subprocess.Popen[bytes] | None = None
    log: Path | None = None

    def wait(self) -> None:
        """Wait until the server that this command has started answers.

        Raises:
            MnistflowError: the server has exited, or does not answer in time.
        """
        fix = f"Its log: {self.log}."
        deadline = time.monotonic() + START_SECONDS
        while self.own and not server_address.answers(self.url):
            if self.own.poll() is not None:
                raise MnistflowError(f"Prefect's API ended with exit code {self.own.returncode} at its start", fix)
            if time.monotonic() > deadline:
                raise MnistflowError(f"Prefect's API did not start within {START_SECONDS} s", fix)
            time.sleep(POLL_SECONDS)


def connect(paths: Paths) -> Api:
    """Set `PREFECT_API_URL` to an API that outlives this process, and return it. A new server may still be starting.

    A new server runs in a session of its own. A terminal sends Ctrl-C to its whole session, and the server must not end
    before the run has reported its end.

    Raises:
        MnistflowError: no Prefect API answers at the configured address.
    """
    if url := server_address.configured_server() or server_address.running_server(paths):
        os.environ[server_address.API_VARIABLE] = url
        return Api(url)
    port = _free_port()
    log = paths.var / "logs" / f"prefect-{port}.log"
    application = ("--factory", "prefect.server.api.server:create_app", "--log-level", "warning")
    command = ("uvicorn", *application, "--host", LOCAL, "--port", str(port))
    server = process_guard.start(command, paths.checkout, log, RECORDS_ONLY)
    # Registered before Prefect is imported: Prefect's own exit handlers, which send the last records, run first then.
    atexit.register(_end, server, log)
    os.environ[server_address.API_VARIABLE] = url = f"http://{LOCAL}:{port}/api"
    return Api(url, server, log)


def _end(server: subprocess.Popen[bytes], log: Path) -> None:
    # The command is done. A Ctrl-C from now on would only leave the server behind.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    died = server.poll() is not None
    process_guard.release(server)
    if not died:
        remove(log)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOCAL, 0))
        return int(probe.getsockname()[1])
