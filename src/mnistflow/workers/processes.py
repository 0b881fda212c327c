"""Worker processes of this machine: each runs one job after another, and ends with the process that started it.

A worker is a plain child process connected by a socket pair. It exits when its parent closes the socket or dies, even
in the middle of a job, whose `finally` blocks are not run: temporary files of workers are in a folder of their parent,
which removes it. A crashed worker loses only its current job; the next job starts a new worker in its place.
"""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Generic

import psutil

from mnistflow.workers.base import Job, JobFunction, Result, WorkerDied, Workers
from mnistflow.workers.worker_process import Reply

WORKER = "mnistflow.workers.worker_process"
STOP_SECONDS = 15.0  # grace period after SIGTERM


class LocalWorkers(Workers[Job, Result]):
    """Processes of this machine that run one job after another.

    Args:
        cores: processor cores of each worker, one set a worker.
        threads: of TensorFlow's operators; TensorFlow is loaded before the first job then. None: jobs load what they
            need.
        import_from: folders that workers import from before any other.
    """

    def __init__(self, cores: Sequence[set[int]], threads: int | None = None, import_from: Sequence[Path] = ()) -> None:
        self._temporary = tempfile.TemporaryDirectory(prefix="mnistflow-", ignore_cleanup_errors=True)
        self._slots = [_Slot[Result](own, threads, import_from, self._temporary.name) for own in cores]

    def capacity(self) -> int:
        return len(self._slots)

    def submit(self, function: JobFunction[Job, Result], job: Job) -> Future[Result]:
        slot = next(slot for slot in self._slots if slot.is_free)
        return slot.submit(pickle.dumps((function, job)))

    def result(self, future: Future[Result]) -> Result:
        return future.result()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for slot in self._slots:
            slot.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        try:
            for slot in self._slots:
                slot.wait(max(0.0, deadline - time.monotonic()))
        finally:  # also after a second Ctrl-C
            for slot in self._slots:
                slot.kill()
            self._temporary.cleanup()


class _Slot(Generic[Result]):
    """Place of a worker: its processor cores, its process, and its latest job."""

    def __init__(self, cores: set[int], threads: int | None, import_from: Sequence[Path], temporary: str) -> None:
        self._arguments = (",".join(map(str, sorted(cores))), "" if threads is None else str(threads))
        self._import_from = import_from
        self._temporary = temporary
        self._offspring: list[psutil.Process] = []
        self._future: Future[Result] | None = None
        self._start()

    @property
    def is_free(self) -> bool:
        return self._future is None or self._future.done()

    def _start(self) -> None:
        self._socket, inherited = socket.socketpair()
        paths = [*map(str, self._import_from), *sys.path]
        with inherited:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", WORKER, str(inherited.fileno()), *self._arguments],
                pass_fds=[inherited.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TMPDIR": self._temporary},
                start_new_session=True,  # a terminal's Ctrl-C reaches the parent only, which stops its workers
            )
        self._stream = self._socket.makefile("rwb")

    def submit(self, call: bytes) -> Future[Result]:
        """Send a pickled job to the worker, or to a new worker if this one has ended."""
        if self._process.poll() is not None:
            self._close()
            self._start()
        self._future = future = Future[Result]()
        Thread(target=self._run, args=(call, future), daemon=True).start()
        return future

    def _run(self, call: bytes, future: Future[Result]) -> None:
        stream = self._stream
        try:
            pickle.dump(call, stream)
            stream.flush()
            reply: Reply = pickle.load(stream)  # noqa: S301  # from a process of our own
        except (OSError, EOFError, ValueError, pickle.UnpicklingError):
            with suppress(OSError, ValueError):  # what was not written any more
                stream.close()
            future.set_exception(WorkerDied(f"a worker process ended with {self._exit_code()}"))
            return
        try:
            future.set_result(_outcome(reply))
        except Exception as error:
            future.set_exception(error)

    def _exit_code(self) -> int:
        """Return the exit code of a worker that has closed its end of the socket."""
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()

    def terminate(self) -> None:
        """End the worker and all that it has started."""
        if self._process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                self._offspring = psutil.Process(self._process.pid).children(recursive=True)
        self._process.terminate()
        for process in self._offspring:
            with suppress(psutil.NoSuchProcess):
                process.terminate()

    def wait(self, seconds: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)
        psutil.wait_procs(self._offspring, seconds)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        for process in self._offspring:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self._close()

    def _close(self) -> None:
        # Wakes the thread that waits for a reply. The stream is left to that thread: it may hold the stream's lock.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


def _outcome(reply: Reply) -> Any:
    """Return the result of a job, or raise its error, which keeps whether it is transient."""
    succeeded, content, is_transient = reply
    outcome = pickle.loads(content)  # noqa: S301  # from a process of our own
    if succeeded:
        return outcome
    with suppress(AttributeError):  # a MnistflowError carries it already
        outcome.transient = is_transient
    raise outcome
