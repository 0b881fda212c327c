"""Supervisor of several server processes on one address: starts workers, replaces those that die, stops them together.

Each worker has a listening socket, see `listeners`. The sockets belong to the supervisor: connections that wait for a
worker that dies are accepted by its successor.
"""

import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import FrameType

from prometheus_client.multiprocess import mark_process_dead

from serving.errors import StartError
from serving.process.parent import PARENT_VARIABLE

log = logging.getLogger(__name__)

# Environment of a worker. The inherited file descriptor that it listens on:
LISTENER_VARIABLE = "MNISTFLOW_SERVE_LISTENER"
# A folder for files that all workers of this server share:
SHARED_VARIABLE = "MNISTFLOW_SERVE_SHARED"
# A folder for the counters of all workers, which prometheus_client reads when it is imported and owns alone:
METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
RESTART_SECONDS = 1.0
POLL_SECONDS = 0.1


def inherited_listener() -> socket.socket | None:
    """Return the socket that the supervisor opened for this worker; None if this process is not a worker."""
    descriptor = os.environ.get(LISTENER_VARIABLE)
    return None if descriptor is None else socket.socket(fileno=int(descriptor))


def shared_folder() -> Path | None:
    """Return the folder that all workers of this server share; None if this process is not a worker."""
    folder = os.environ.get(SHARED_VARIABLE)
    return None if folder is None else Path(folder)


def supervise(arguments: Sequence[str], listeners: Sequence[socket.socket], stop_seconds: float) -> None:
    """Run one worker for each socket until SIGTERM or SIGINT.

    Prints one line when all workers serve.

    Args:
        arguments: of the command line, for each worker.
        listeners: one for each worker.
        stop_seconds: that workers get to stop before they are killed.

    Raises:
        StartError: a worker does not start; it has logged the reason.
    """
    stop = StopSignal()
    folders = {
        METRICS_VARIABLE: tempfile.mkdtemp(prefix="mnistflow-metrics-"),
        SHARED_VARIABLE: tempfile.mkdtemp(prefix="mnistflow-shared-"),
    }
    workers = Workers(arguments, listeners, folders, stop)
    try:
        workers.start()
        workers.watch()
    finally:
        workers.stop(stop_seconds)
        for folder in folders.values():
            shutil.rmtree(folder, ignore_errors=True)


class StopSignal:
    """Whether SIGTERM or SIGINT has arrived.

    The handler raises nothing, because the code that a signal interrupts may catch an exception, or be a callback whose
    exceptions Python ignores: the signal would be lost.
    """

    def __init__(self) -> None:
        self.is_set = False
        for stop in (signal.SIGTERM, signal.SIGINT):
            signal.signal(stop, self._set)

    def _set(self, _: int, __: FrameType | None) -> None:
        self.is_set = True


class Workers:
    """The worker processes behind one address.

    Args:
        arguments: of the command line, for each worker.
        listeners: one for each worker.
        environment: further variables for all workers.
        stop: ends `start` and `watch`.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        listeners: Sequence[socket.socket],
        environment: Mapping[str, str],
        stop: StopSignal,
    ) -> None:
        self._arguments = arguments
        self._listeners = listeners
        self._environment = environment
        self._stop = stop
        self._processes: list[subprocess.Popen[str]] = []
        # Nothing is ever written to the pipe: its other end closes when this process ends.
        self._parent, self._held = os.pipe()

    def start(self) -> None:
        """Start all workers and wait until each serves.

        Raises:
            StartError: one of them does not start.
        """
        for listener in self._listeners:
            self._processes.append(self._spawn(listener, subprocess.PIPE))
        announcements = [self._first_line(process) for process in self._processes]
        if self._stop.is_set:
            return
        if not all(announcements):
            raise StartError("a worker did not start. Its error is above.")
        sys.stdout.write(announcements[0])
        sys.stdout.flush()

    def watch(self) -> None:
        """Replace workers that end, until the signal to stop."""
        while not self._stop.is_set:
            time.sleep(POLL_SECONDS)
            for number, process in enumerate(self._processes):
                if process.poll() is not None and not self._stop.is_set:
                    log.warning("a worker exited with status %d, another one is started", process.returncode)
                    mark_process_dead(process.pid, self._environment[METRICS_VARIABLE])  # type: ignore[no-untyped-call]
                    time.sleep(RESTART_SECONDS)
                    self._processes[number] = self._spawn(self._listeners[number], subprocess.DEVNULL)

    def stop(self, seconds: float) -> None:
        """Accept no more connections, let all workers finish their requests, and wait for them.

        Args:
            seconds: after which workers that have not ended are killed.
        """
        for listener in self._listeners:
            # While this process holds the socket open, the kernel would accept connections that no worker answers.
            listener.close()
        for process in self._processes:
            process.terminate()
        deadline = time.monotonic() + seconds
        for process in self._processes:
            try:
                process.wait(max(0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                log.warning("a worker did not stop within %g seconds and is killed", seconds)
                process.kill()
                process.wait()

    def _first_line(self, process: subprocess.Popen[str]) -> str:
        """Wait for the first line of a worker's output and return it; empty if the worker or this server stops."""
        while not self._stop.is_set:
            if process.stdout and select.select([process.stdout], [], [], POLL_SECONDS)[0]:
                return process.stdout.readline()
        return ""

    def _spawn(self, listener: socket.socket, output: int) -> subprocess.Popen[str]:
        environment = {
            LISTENER_VARIABLE: str(listener.fileno()),
            PARENT_VARIABLE: str(self._parent),
            **self._environment,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "serving", *self._arguments],
            stdout=output,
            text=True,
            env=os.environ | environment,
            pass_fds=[listener.fileno(), self._parent],
        )
