"""Runs services together: all start at once, and end together when a signal says so or one of them ends by itself."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flows.processes import process_guard
from mnistflow.errors import MnistflowError
from mnistflow.workers import signals

START_SECONDS = 600  # for what hangs: that a server has ended is noticed at once
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Service:
    """A Python module that is run as a process, and how to tell that it works.

    Attributes:
        command: module and arguments.
        works: asked until it is true.
        startable: asked until it is true; the service starts then.
        waiting: what it waits for, when that may last; the others do not wait for it.
        address: what a user opens.
        environment: defaults for variables that the user has not set.
    """

    name: str
    command: tuple[str, ...]
    works: Callable[[], bool]
    startable: Callable[[], bool] = lambda: True
    waiting: str = ""
    address: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)


class Supervisor:
    """The processes of some services.

    Each runs on a leash, so that none outlives this process, however it ends.
    """

    def __init__(self, services: Sequence[Service], home: Path, logs: Path, say: Callable[[str], None]) -> None:
        """Run `services`, later ones needing earlier ones, in the folder `home`; what they print goes to `logs`."""
        self._starting = list(services)
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._home = home
        self._logs = logs
        self._say = say

    def run(self, started: Callable[[], None]) -> None:
        """Start the services, call `started` when they work, and return when SIGINT, SIGTERM or SIGHUP has ended them.

        Raises:
            MnistflowError: a service does not start, or ended by itself; the others are stopped.
        """
        with signals.interrupting():
            try:
                self._start()
                started()
                while True:
                    self._advance()
            except KeyboardInterrupt:
                self._say("stopping")
            finally:
                self._stop()

    def _start(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while late := [service.name for service in self._starting if not self._may_wait(service)]:
            if time.monotonic() > deadline:
                raise MnistflowError(
                    f"{', '.join(late)} did not start within {START_SECONDS} s", f"See the logs in {self._logs}."
                )
            self._advance()
        for service in self._starting:
            self._say(f"{service.name}: {service.waiting}")

    def _may_wait(self, service: Service) -> bool:
        return bool(service.waiting) and service.name not in self._running and not service.startable()

    def _advance(self) -> None:
        """Start what can be started, report what works now, and see that nothing has ended."""
        for service in list(self._starting):
            if service.name not in self._running and service.startable():
                self._running[service.name] = self._launch(service)
            if service.name in self._running and service.works():
                self._starting.remove(service)
                self._say(" ".join(filter(None, [service.name, "works", service.address and f"at {service.address}"])))
        for name, process in self._running.items():
            if process.poll() is not None:
                raise MnistflowError(
                    f"{name} ended by itself with exit code {process.returncode}", f"Its log: {self._log(name)}."
                )
        time.sleep(POLL_SECONDS)

    def _launch(self, service: Service) -> subprocess.Popen[bytes]:
        return process_guard.start(service.command, self._home, self._log(service.name), service.environment)

    def _stop(self) -> None:
        """Stop one after the other, the last first: what needs another one can still reach it."""
        for process in reversed(self._running.values()):
            process_guard.release(process)

    def _log(self, name: str) -> Path:
        return self._logs / f"{name.lower().replace(' ', '-')}.log"
