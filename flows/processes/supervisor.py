"""Supervisor of services: all start together, and end together after a signal.

When one of them ends by itself, the others end too, or it is started again.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flows.processes import process_guard
from mnistflow import files
from mnistflow.errors import MnistflowError
from mnistflow.workers import signals

START_SECONDS = 600  # for what hangs: that a server has ended is noticed at once
POLL_SECONDS = 0.2


@dataclass(frozen=True)
class Service:
    """A command that runs as a process, with its readiness probe.

    Attributes:
        command: Python module or absolute path of a program, and arguments.
        is_ready: readiness probe, polled until it returns True.
        on_ready: called when the probe has succeeded.
        can_start: polled until it returns True; the service starts then.
        waiting_message: about what the service waits for, if that may take long; other services do not wait for it.
        address: URL for users.
        default_environment: variables that it gets where the user has not set them.
        environment: variables that it gets whatever the user has set.
    """

    name: str
    command: tuple[str, ...]
    is_ready: Callable[[], bool]
    on_ready: Callable[[], None] | None = None
    can_start: Callable[[], bool] = lambda: True
    waiting_message: str = ""
    address: str = ""
    default_environment: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)


class Supervisor:
    """Starts and stops services. Each runs under a process guard, so that none outlives this process."""

    def __init__(
        self,
        services: Sequence[Service],
        folder: Path,
        logs: Path,
        report: Callable[[str], None],
        restart_seconds: float | None = None,
    ) -> None:
        """Prepare services, of which later ones may need earlier ones.

        Args:
            folder: working directory of the services.
            logs: folder for their output, one file a service.
            report: called with each line about their progress.
            restart_seconds: after which a service that was ready and ended is started again; None ends all instead.
        """
        self._services = {service.name: service for service in services}
        self._starting = list(services)
        self._restart_seconds = restart_seconds
        self._ready_once: set[str] = set()
        self._restart_at: dict[str, float] = {}
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._folder = folder
        self._logs = logs
        self._report = report

    def run(self, started: Callable[[], None]) -> None:
        """Start the services, call `started` when they are ready, and return when a signal has ended them.

        The signals are SIGINT, SIGTERM and SIGHUP.

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
                self._report("stopping")
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
            self._report(f"{service.name}: {service.waiting_message}")

    def _may_wait(self, service: Service) -> bool:
        return bool(service.waiting_message) and service.name not in self._running and not service.can_start()

    def _advance(self) -> None:
        """Start what can be started, report what has become ready, and handle services that have ended."""
        for service in list(self._starting):
            if self._may_start(service):
                self._running[service.name] = self._launch(service)
            if service.name in self._running and service.is_ready():
                self._handle_ready(service)
        for name, process in list(self._running.items()):
            if process.poll() is not None:
                self._handle_end(name, process)
        time.sleep(POLL_SECONDS)

    def _handle_ready(self, service: Service) -> None:
        if service.on_ready:
            service.on_ready()
        self._starting.remove(service)
        self._ready_once.add(service.name)
        self._report(" ".join(filter(None, [service.name, "works", service.address and f"at {service.address}"])))

    def _may_start(self, service: Service) -> bool:
        if service.name in self._running or time.monotonic() < self._restart_at.get(service.name, 0.0):
            return False
        return service.can_start()

    def _handle_end(self, name: str, process: subprocess.Popen[bytes]) -> None:
        problem = f"{name} ended unexpectedly with exit code {process.returncode}"
        if self._restart_seconds is None or name not in self._ready_once:
            raise MnistflowError(problem, f"Its log: {self._log(name)}.")
        process_guard.release(self._running.pop(name))
        self._restart_at[name] = time.monotonic() + self._restart_seconds
        if self._services[name] not in self._starting:
            self._starting.append(self._services[name])
        self._report(f"{problem}, and is started again; its log: {self._log(name)}")

    def _launch(self, service: Service) -> subprocess.Popen[bytes]:
        log = self._log(service.name)
        if service.name not in self._restart_at:
            files.remove(log)
        return process_guard.start(service.command, self._folder, log, service.default_environment, service.environment)

    def _stop(self) -> None:
        """Stop the services in reverse order, so that each can still reach those that it needs."""
        for process in reversed(self._running.values()):
            process_guard.release(process)

    def _log(self, name: str) -> Path:
        return self._logs / f"{name.lower().replace(' ', '-')}.log"
