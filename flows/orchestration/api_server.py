"""The Prefect API that a run reports to: the one configured or running already, or one of its own while it lasts."""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from flows.orchestration import deployments
from flows.processes import process_guard
from mnistflow.errors import MnistflowError
from mnistflow.files import remove
from mnistflow.paths import Paths

LOCAL = "127.0.0.1"
START_SECONDS = 600  # for what hangs: that a server has ended is noticed at once
POLL_SECONDS = 0.1

# The server of one run is there to record it: it schedules nothing and shows nothing.
RECORDS_ONLY = {
    "PREFECT_SERVER_UI_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_SCHEDULER_ENABLED": "false",
    "PREFECT_SERVER_SERVICES_LATE_RUNS_ENABLED": "false",
    "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
}


@dataclass(frozen=True)
class Api:
    """A Prefect API, which `PREFECT_API_URL` names from now on.

    Attributes:
        own: the server of it, when it ends with this process.
        log: what that server prints.
    """

    url: str
    own: subprocess.Popen[bytes] | None = None
    log: Path | None = None

    def wait(self) -> None:
        """Wait until a server of its own answers.

        Raises:
            MnistflowError: it does not.
        """
        fix = f"Its log: {self.log}."
        deadline = time.monotonic() + START_SECONDS
        while self.own and not deployments.answers(self.url):
            if self.own.poll() is not None:
                raise MnistflowError(f"Prefect's API ended with exit code {self.own.returncode} at its start", fix)
            if time.monotonic() > deadline:
                raise MnistflowError(f"Prefect's API did not start within {START_SECONDS} s", fix)
            time.sleep(POLL_SECONDS)


def connect(paths: Paths) -> Api:
    """Point `PREFECT_API_URL` at an API that lasts at least as long as this process; it may still be starting.

    A server of its own runs in a session of its own: a Ctrl-C, which a terminal sends to all that it started, must not
    end it before the run has reported its end there.
    """
    if url := deployments.running_server(paths):
        os.environ[deployments.API_VARIABLE] = url
        return Api(url)
    port = _free_port()
    log = paths.var / "logs" / f"prefect-{port}.log"
    command = ("prefect", "server", "start", "--host", LOCAL, "--port", str(port))
    server = process_guard.start(command, paths.checkout, log, RECORDS_ONLY)
    # Registered before Prefect is imported: Prefect's own exit handlers, which send what is left, run first then.
    atexit.register(_end, server, log)
    os.environ[deployments.API_VARIABLE] = url = f"http://{LOCAL}:{port}/api"
    return Api(url, server, log)


def _end(server: subprocess.Popen[bytes], log: Path) -> None:
    # The command is done: a Ctrl-C that comes now would only leave the server behind.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    died = server.poll() is not None
    process_guard.release(server)
    if not died:
        remove(log)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOCAL, 0))
        return int(probe.getsockname()[1])
