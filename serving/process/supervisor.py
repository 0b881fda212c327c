"""Several server processes on one address: starts them, replaces those that die, stops them together.

Each has a listening socket of its own (SO_REUSEPORT), so the kernel spreads the connections. The sockets belong to the
parent: what waits in the queue of a worker that dies is answered by its successor.
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
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from serving.errors import StartError

log = logging.getLogger(__name__)

# Tells a worker, in its environment, which inherited file descriptor it listens on.
LISTENER_VARIABLE = "MNISTFLOW_SERVE_LISTENER"
# Tells it which inherited end of a pipe closes when the parent is gone, however that ends.
PARENT_VARIABLE = "MNISTFLOW_SERVE_PARENT"
# Where prometheus_client keeps what all workers count; it is read when that package is imported.
METRICS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
RESTART_SECONDS = 1.0
POLL_SECONDS = 0.1


def listen(host: str, port: int, count: int = 1, option: str = "--port") -> list[socket.socket]:
    """Return as many sockets, listening on the same address; port 0 takes a free one. `option` is what sets the port.

    Raises:
        StartError: the address is taken or not one of this machine, or the system cannot share addresses.
    """
    if count > 1 and not hasattr(socket, "SO_REUSEPORT"):
        raise StartError("this system cannot share an address between processes. Start with --workers 1.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # Without the option to share, so that a second server on this address fails at once.
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
    """Return the socket that the parent gave to this process; None when it is no worker."""
    descriptor = os.environ.get(LISTENER_VARIABLE)
    return None if descriptor is None else socket.socket(fileno=int(descriptor))


def leave_with_parent() -> None:
    """See to it that this process, when it is a worker, stops as on SIGTERM as soon as its parent is gone."""
    descriptor = os.environ.get(PARENT_VARIABLE)
    if descriptor is not None:
        threading.Thread(target=_stop_at_end_of, args=(int(descriptor),), daemon=True).start()


def shared_folder() -> Path | None:
    """Return the folder that all workers of this server see; None when this process is no worker."""
    folder = os.environ.get(METRICS_VARIABLE) if LISTENER_VARIABLE in os.environ else None
    return None if folder is None else Path(folder)


def supervise(arguments: Sequence[str], listeners: Sequence[socket.socket]) -> NoReturn:
    """Run one worker a socket until a signal's handler ends this process; announces once when all of them serve.

    Raises:
        StartError: a worker does not start; it has said why.
    """
    counts = tempfile.mkdtemp(prefix="mnistflow-metrics-")
    workers = Workers(arguments, listeners, counts)
    try:
        workers.start()
        workers.keep()
    finally:
        for stop in (signal.SIGTERM, signal.SIGINT):
            signal.signal(stop, signal.SIG_IGN)
        workers.stop()
        shutil.rmtree(counts, ignore_errors=True)


class Workers:
    """The processes behind one address."""

    def __init__(self, arguments: Sequence[str], listeners: Sequence[socket.socket], counts: str) -> None:
        self._arguments = arguments
        self._listeners = listeners
        self._counts = counts
        self._processes: list[subprocess.Popen[str]] = []
        # Nothing is ever written: only this process holds the end that could be.
        self._parent, self._held = os.pipe()

    def start(self) -> None:
        """Start all and wait until each serves.

        Raises:
            StartError: one of them does not.
        """
        for listener in self._listeners:
            self._processes.append(self._spawn(listener, subprocess.PIPE))
        announcements = [process.stdout.readline() for process in self._processes if process.stdout]
        if not all(announcements):
            raise StartError("a worker did not start.")
        sys.stdout.write(announcements[0])
        sys.stdout.flush()

    def keep(self) -> NoReturn:
        """Replace workers that end."""
        while True:
            time.sleep(POLL_SECONDS)
            for number, process in enumerate(self._processes):
                if process.poll() is not None:
                    log.warning("a worker ended with status %d, another one starts", process.returncode)
                    time.sleep(RESTART_SECONDS)
                    self._processes[number] = self._spawn(self._listeners[number], subprocess.DEVNULL)

    def stop(self) -> None:
        """Take no more connections, let all workers finish what they do, and wait for them."""
        for listener in self._listeners:
            # While this process holds it open, the kernel would take connections that nobody answers.
            listener.close()
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.wait()

    def _spawn(self, listener: socket.socket, output: int) -> subprocess.Popen[str]:
        environment = {
            LISTENER_VARIABLE: str(listener.fileno()),
            PARENT_VARIABLE: str(self._parent),
            METRICS_VARIABLE: self._counts,
        }
        return subprocess.Popen(
            [sys.executable, "-m", "serving", *self._arguments],
            stdout=output,
            text=True,
            env=os.environ | environment,
            pass_fds=[listener.fileno(), self._parent],
        )


def _stop_at_end_of(descriptor: int) -> None:
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
