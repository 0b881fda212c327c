"""Worker processes of this machine: each runs one job after another, and ends with the process that started it.

A worker is a plain child process connected by a socket pair: it ends when the other end closes, however its parent
ended. A crashed worker loses only its current job; the next job starts a new worker in its place.
"""

from __future__ import annotations

import os
import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import suppress
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Generic

from mnistflow.workers.base import Job, Objective, Result, WorkerDied, Workers

WORKER = "mnistflow.workers.worker_process"
STOP_SECONDS = 15.0  # for a worker to close its files and runs


class LocalWorkers(Workers[Job, Result]):
    """Processes of this machine that run one job after another.

    Args:
        cores: processor cores of each worker, one set a worker.
        threads: of TensorFlow's operators; TensorFlow is loaded before the first job then. None: jobs load what they
            need.
        import_from: folders that workers import from before any other.
    """

    def __init__(self, cores: Sequence[set[int]], threads: int | None = None, import_from: Sequence[Path] = ()) -> None:
        self._slots = [_Slot[Result](own, threads, import_from) for own in cores]

    def capacity(self) -> int:
        return len(self._slots)

    def submit(self, objective: Objective[Job, Result], job: Job) -> Future[Result]:
        slot = next(slot for slot in self._slots if slot.future is None or slot.future.done())
        return slot.submit(pickle.dumps((objective, job)))

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


class _Slot(Generic[Result]):
    """The place of a worker: its cores, its process, and its newest job."""

    def __init__(self, cores: set[int], threads: int | None, import_from: Sequence[Path]) -> None:
        self._arguments = (",".join(map(str, sorted(cores))), "" if threads is None else str(threads))
        self._import_from = import_from
        self.future: Future[Result] | None = None
        self._start()

    def _start(self) -> None:
        self._socket, inherited = socket.socketpair()
        paths = [*map(str, self._import_from), *sys.path]
        with inherited:
            self._process = subprocess.Popen(
                [
                    sys.executable,
                    "-P",
                    "-m",
                    WORKER,
                    str(inherited.fileno()),
                    *self._arguments,
                ],
                pass_fds=[inherited.fileno()],
                env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
                start_new_session=True,  # a terminal's Ctrl-C reaches the parent only, which stops its workers
            )
        self._stream = self._socket.makefile("rwb")

    def submit(self, call: bytes) -> Future[Result]:
        future: Future[Result] = Future()
        self.future = future
        if self._process.poll() is not None:
            self._close()
            self._start()
        Thread(target=self._run, args=(call, future), daemon=True).start()
        return future

    def _run(self, call: bytes, future: Future[Result]) -> None:
        try:
            self._stream.write(call)
            self._stream.flush()
            succeeded, outcome = pickle.load(self._stream)  # noqa: S301  # from a process of our own
        except (OSError, EOFError, pickle.UnpicklingError, ValueError):
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_SECONDS)
            future.set_exception(WorkerDied())
            return
        if succeeded:
            future.set_result(outcome)
        else:
            future.set_exception(outcome)

    def terminate(self) -> None:
        self._process.terminate()

    def wait(self, seconds: float) -> None:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(seconds)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._close()

    def _close(self) -> None:
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
