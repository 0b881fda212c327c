"""Supervisor of several server processes on one address: starts workers, replaces those that die, stops them together.

Each worker has a listening socket of its own (SO_REUSEPORT), so that the kernel spreads the connections. The sockets
belong to the supervisor: connections that wait for a worker that dies are accepted by its successor.
"""

import logging
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from serving.errors import StartError

log = logging.getLogger(__name__)

# Environment of a worker. The inherited file descriptor that it listens on:
LISTENER_VARIABLE = "MNISTFLOW_SERVE_LISTENER"
# The inherited end of a pipe that closes when the supervisor ends, however that happens:
PARENT_VARIABLE = "MNISTFLOW_SERVE_PARENT"
# A folder for files that all workers of this server share:
SHARED_VARIABLE = "MNISTFLOW_SERVE_SHARED"
# A folder for the counters of all workers, which prometheus_client reads when it is imported and owns alone:
METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
RESTART_SECONDS = 1.0
POLL_SECONDS = 0.1


def listen(host: str, port: int, count: int = 1, option: str = "--port") -> list[socket.socket]:
    """Open sockets that listen on the same address.

    Args:
        host: name or address of an interface.
        port: 0 chooses a free one.
        count: number of sockets.
        option: of the command line, that sets the port; named in errors.

    Raises:
        StartError: the address is in use or not one of this machine, or the system cannot share addresses.
    """
    if count > 1 and not hasattr(socket, "SO_REUSEPORT"):
        raise StartError("this system cannot share an address between processes. Start with --workers 1.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # First without the option to share the address, so that a second server on it fails at once.
        first = _bound(family, kind, protocol, address, shared=False)
        if count == 1:
            first.listen(2048)
            return [first]
        address = first.getsockname()
        first.close()
        listeners = [_bound(family, kind, protocol, address, shared=True) for _ in range(count)]
        for listener in listeners:
            listener.listen(2048)
    except OSError as error:
        raise StartError(
            f"cannot listen on {host}:{port} ({error.strerror}). Choose another {option} or --host."
        ) from None
    return listeners


def inherited_listener() -> socket.socket | None:
    """Return the socket that the supervisor opened for this worker; None if this process is no worker."""
    descriptor = os.environ.get(LISTENER_VARIABLE)
    return None if descriptor is None else socket.socket(fileno=int(descriptor))


def stop_with_parent() -> None:
    """Make a worker stop, as on SIGTERM, when its supervisor ends. Does nothing if this process is no worker."""
    descriptor = os.environ.get(PARENT_VARIABLE)
    if descriptor is not None:
        threading.Thread(target=_stop_when_closed, args=(int(descriptor),), daemon=True).start()


def shared_folder() -> Path | None:
    """Return the folder that all workers of this server share; None if this process is no worker."""
    folder = os.environ.get(SHARED_VARIABLE)
    return None if folder is None else Path(folder)


def supervise(arguments: Sequence[str], listeners: Sequence[socket.socket]) -> NoReturn:
    """Run one worker for each socket until the handler of a signal ends this process.

    Prints one line when all workers serve.

    Raises:
        StartError: a worker does not start; it has logged the reason.
    """
    folders = {
        METRICS_VARIABLE: tempfile.mkdtemp(prefix="mnistflow-metrics-"),
        SHARED_VARIABLE: tempfile.mkdtemp(prefix="mnistflow-shared-"),
    }
    workers = Workers(arguments, listeners, folders)
    try:
        workers.start()
        workers.watch()
    finally:
        for stop in (signal.SIGTERM, signal.SIGINT):
            signal.signal(stop, signal.SIG_IGN)
        workers.stop()
        for folder in folders.values():
            shutil.rmtree(folder, ignore_errors=True)


class Workers:
    """The worker processes behind one address.

    Args:
        arguments: of the command line, for each worker.
        listeners: one for each worker.
        environment: further variables for all workers.
    """

    def __init__(
        self, arguments: Sequence[str], listeners: Sequence[socket.socket], environment: Mapping[str, str]
    ) -> None:
        self._arguments = arguments
        self._listeners = listeners
        self._environment = environment
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
        announcements = [process.stdout.readline() for process in self._processes if process.stdout]
        if not all(announcements):
            raise StartError("a worker did not start. Its error is above.")
        sys.stdout.write(announcements[0])
        sys.stdout.flush()

    def watch(self) -> NoReturn:
        """Replace workers that end, until an exception is raised."""
        while True:
            time.sleep(POLL_SECONDS)
            for number, process in enumerate(self._processes):
                if process.poll() is not None:
                    log.warning("a worker ended with status %d, another one is started", process.returncode)
                    time.sleep(RESTART_SECONDS)
                    self._processes[number] = self._spawn(self._listeners[number], subprocess.DEVNULL)

    def stop(self) -> None:
        """Accept no more connections, let all workers finish their requests, and wait for them."""
        for listener in self._listeners:
            # While this process holds the socket open, the kernel would accept connections that no worker answers.
            listener.close()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()

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


def _stop_when_closed(descriptor: int) -> None:
    os.read(descriptor, 1)
    os.kill(os.getpid(), signal.SIGTERM)


def _bound(family: int, kind: int, protocol: int, address: object, *, shared: bool) -> socket.socket:
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind(address)  # type: ignore[arg-type]  # as getaddrinfo and getsockname give it
    except OSError:
        bound.close()
        raise
    return bound
