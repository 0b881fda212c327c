"""Who runs trials of a search, members of a sweep and stages of a run: processes of this machine, or Dask workers.

Both take a job and give a future, and both bear the death of a worker: it costs what it was doing.
"""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from threading import Lock, Thread
from types import TracebackType
from typing import Generic, Self, TypeVar

from mnistflow import backend, environment, lineage, native, scheduler, signals
from mnistflow.errors import StageError

logger = logging.getLogger(__name__)

STOP_SECONDS = 15.0  # for a worker to close what it has under way
INTERRUPTED = 130

Job = TypeVar("Job")
Result = TypeVar("Result")
Objective = Callable[[Job], Result]


class WorkerDied(Exception):
    """A worker ended in the middle of a job, which may be tried again."""


class Workers(ABC, Generic[Job, Result]):
    """Runs jobs, one a worker at a time; a context manager that lets the workers go at its end."""

    @abstractmethod
    def capacity(self) -> int:
        """Return how many jobs can run at the same time now."""

    @abstractmethod
    def submit(self, objective: Objective[Job, Result], job: Job) -> Future[Result]:
        """Start a job; at most `capacity` may be under way."""

    @abstractmethod
    def result(self, future: Future[Result]) -> Result:
        """Return what a finished job came to.

        Raises:
            WorkerDied: its worker ended.
            StageError: no worker can be had any more.
        """

    def __enter__(self) -> Self:
        return self

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Let the workers go."""


def find_workers(configured: scheduler.Address | None, count: int, threads: int) -> Workers[Job, Result]:
    """Return the workers of the Dask scheduler named here or in `DASK_SCHEDULER_ADDRESS`, else `count` processes.

    Args:
        configured: where the scheduler is.
        threads: of TensorFlow's operators in a Dask worker; 0 = as its environment says.

    Raises:
        ConfigError: the variable holds no address.
        StageError: no scheduler answers there.
    """
    if address := scheduler.find(configured):
        return DaskWorkers(address, threads)
    cores = os.sched_getaffinity(0)
    return LocalWorkers([cores] * count, max(1, len(cores) // count))


class LocalWorkers(Workers[Job, Result]):
    """Processes of this machine, each of which runs one job after another; they end with this one in whatever way."""

    def __init__(self, cores: Sequence[set[int]], threads: int | None = None) -> None:
        """Start a process for each of these sets of processor cores, which is all it uses.

        Args:
            threads: of TensorFlow's operators, which is loaded before the first job; None: jobs load what they need.
        """
        self._threads = threads
        self._slots = [_Slot[Result](own, self._start(own)) for own in cores]

    def _start(self, cores: set[int]) -> ProcessPoolExecutor:
        """Start a pool of one: a process that dies takes its whole pool with it."""
        # TensorFlow does not survive a fork.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(1, context, initializer=_start_process, initargs=(cores, self._threads))

    def capacity(self) -> int:
        return len(self._slots)

    def submit(self, objective: Objective[Job, Result], job: Job) -> Future[Result]:
        slot = next(slot for slot in self._slots if slot.future is None or slot.future.done())
        with _deaf_children():
            try:
                slot.future = slot.pool.submit(_run_interruptibly, objective, job)
            except BrokenProcessPool:
                slot.pool = self._start(slot.cores)
                slot.future = slot.pool.submit(_run_interruptibly, objective, job)
        return slot.future

    def result(self, future: Future[Result]) -> Result:
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise WorkerDied from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for slot in self._slots:
            slot.pool.shutdown(wait=False, cancel_futures=True)
        # Those without a job end at once, which saves the seconds that TensorFlow takes to leave.
        _end_children()


@dataclass
class _Slot(Generic[Result]):
    """The place of a worker: its cores, its pool of one, and its newest job."""

    cores: set[int]
    pool: ProcessPoolExecutor
    future: Future[Result] | None = None


@contextmanager
def _deaf_children() -> Iterator[None]:
    """Let a process that starts in the block hear no signal before it says how it wants to take it."""
    heard = signal.pthread_sigmask(signal.SIG_BLOCK, signals.ENDING)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, heard)


def _end_children() -> None:
    """End the processes that this one has started, those that do not listen after a while by force."""
    children = multiprocessing.active_children()
    for child in children:
        child.terminate()
    deadline = time.monotonic() + STOP_SECONDS
    try:
        for child in children:
            child.join(max(0.0, deadline - time.monotonic()))
    finally:  # also when a second Ctrl-C ends the patience
        for child in children:
            child.kill()


class DaskWorkers(Workers[Job, Result]):
    """The workers of a Dask cluster, as many as there are at the moment.

    They need these sources, and see the checkout's folder at the same path.
    """

    def __init__(self, address: scheduler.Address, threads: int) -> None:
        self._address, self._threads, self._warned = address, threads, False
        self._client = scheduler.connect(address)
        self._executor = self._client.get_executor(pure=False)
        logger.info("searching on the Dask cluster at %s: %d workers", address, len(self._client.nthreads()))

    def capacity(self) -> int:
        try:
            count = len(self._client.nthreads())
        except (OSError, ValueError, AttributeError, CancelledError) as error:
            # What a lost connection raises depends on the moment.
            raise self._gone() from error
        if not count and not self._warned:
            logger.warning("the Dask cluster at %s has no workers: waiting for one", self._address)
            self._warned = True
        return max(count, 1)

    def submit(self, objective: Objective[Job, Result], job: Job) -> Future[Result]:
        known = (*environment.DEFAULTS, *native.ONEDNN, backend.VARIABLE)
        settings = {name: os.environ[name] for name in known if name in os.environ}
        call = (_run_on_dask, objective, job, settings, self._threads, lineage.code_digest())
        future: Future[Result] = self._executor.submit(*call)
        return future

    def result(self, future: Future[Result]) -> Result:
        from distributed import KilledWorker

        try:
            return future.result()
        except KilledWorker as error:
            raise StageError(
                f"a trial has ended every Dask worker that tried it, most likely for want of memory: {error}",
                "Give the workers more memory and start again: the search goes on with its finished trials.",
            ) from error
        except CancelledError as error:
            raise self._gone() from error

    def _gone(self) -> StageError:
        return StageError(
            f"the Dask scheduler at {self._address} is gone",
            "Start it and its workers, then start again: the search goes on with its finished trials.",
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close(timeout=scheduler.CONNECT_SECONDS)


def _start_process(cores: set[int], threads: int | None) -> None:
    """Make this a local worker: with its own cores, ended by its parent in order, or with it in whatever way."""
    os.sched_setaffinity(0, cores)
    # A session of its own: Ctrl-C comes from the parent, in order.
    os.setsid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, signals.ENDING)
    Thread(target=_end_with_parent, daemon=True).start()
    if threads is not None:
        _load(threads)


def _run_interruptibly(objective: Objective[Job, Result], job: Job) -> Result:
    """Run a job so that a signal lets it close what it has opened, and then ends this worker."""
    try:
        with signals.interrupting():
            return objective(job)
    except KeyboardInterrupt:
        sys.stdout.flush()
        os._exit(INTERRUPTED)
    finally:
        sys.stdout.flush()  # a worker without a job is ended by a signal


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


@cache
def _load(threads: int) -> None:
    """Load what every trial needs, once a process."""
    backend.load_tensorflow(threads)


_one_at_a_time = Lock()


def _run_on_dask(
    objective: Objective[Job, Result], job: Job, settings: Mapping[str, str], threads: int, code: str
) -> Result:
    """Run a job in a worker that was started elsewhere: perhaps with other settings, threads, or other sources."""
    if lineage.code_digest() != code:
        raise StageError(
            f"the Dask worker {os.uname().nodename} has other sources of mnistflow than this search",
            "Install the same version there and start the worker again.",
        )
    with _one_at_a_time:
        os.environ.update(settings)
        _load(threads)
        return objective(job)
