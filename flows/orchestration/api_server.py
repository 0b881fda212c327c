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
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.orchestration import server_address
from flows.processes import process_guard
from flows.processes.addresses import LOOPBACK
from mnistflow.errors import MnistflowError
from mnistflow.files import remove
from mnistflow.paths import Paths

START_SECONDS = 600  # limit for a server that hangs; one that has exited is noticed at once
POLL_SECONDS = 0.1


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

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Run flows in the block, once the server that this command has started answers.

        Nothing reads heartbeats on such a server, and Prefect takes up to a second at the end of a flow to stop them.

        Raises:
            MnistflowError: the server has exited, or does not answer in time.
        """
        fix = f"Its log: {self.log}."
        deadline = time.monotonic() + START_SECONDS
        while self.own and not server_address.answers(self.url):
            if self.own.poll() is not None:
                raise MnistflowError(f"Prefect's API exited with code {self.own.returncode} during startup", fix)
            if time.monotonic() > deadline:
                raise MnistflowError(f"Prefect's API did not start within {START_SECONDS} s", fix)
            time.sleep(POLL_SECONDS)
        from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None} if self.own else None):
            yield


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
    server = process_guard.start(("flows.orchestration.temporary_server", str(port)), paths.checkout, log)
    # Registered before Prefect is imported: Prefect's own exit handlers, which send the last records, run first then.
    atexit.register(_end, server, log)
    os.environ[server_address.API_VARIABLE] = url = f"http://{LOOPBACK}:{port}/api"
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
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])
