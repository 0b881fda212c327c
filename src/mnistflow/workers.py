"""Who runs the trials of a search: processes of this machine, or the workers of a Dask cluster.

Both take a job and give a future, and both bear the death of a worker: it costs what it was doing, which is done again.
"""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import cache
from threading import Lock, Thread
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from mnistflow import backend, environment, lineage
from mnistflow.errors import StageError

if TYPE_CHECKING:
    from distributed import Client

logger = logging.getLogger(__name__)

ADDRESS_VARIABLE = "DASK_SCHEDULER_ADDRESS"
CONNECT_SECONDS = 10

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


def find_workers(scheduler: str | None, count: int, threads: int) -> Workers[Job, Result]:
    """Return the workers of the Dask scheduler named here or in `DASK_SCHEDULER_ADDRESS`, else `count` processes.

    Args:
        threads: of TensorFlow's operators in a Dask worker; 0 = as its environment says.

    Raises:
        StageError: no scheduler answers there.
    """
    address = scheduler or os.environ.get(ADDRESS_VARIABLE)
    return DaskWorkers(address, threads) if address else LocalWorkers(count)


class LocalWorkers(Workers[Job, Result]):
    """Processes of this machine, which share its cores."""

    def __init__(self, count: int) -> None:
        self._threads = max(1, len(os.sched_getaffinity(0)) // count)
        self._slots: list[tuple[ProcessPoolExecutor, Future[Result] | None]] = [
            (self._start(), None) for _ in range(count)
        ]

    def _start(self) -> ProcessPoolExecutor:
        """Start a pool of one: a process that dies takes its whole pool with it."""
        # TensorFlow does not survive a fork.
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(1, context, initializer=_start_process, initargs=(self._threads,))

    def capacity(self) -> int:
        return len(self._slots)

    def submit(self, objective: Objective[Job, Result], job: Job) -> Future[Result]:
        place = next(i for i, (_, future) in enumerate(self._slots) if future is None or future.done())
        pool, _ = self._slots[place]
        try:
            future = pool.submit(objective, job)
        except BrokenProcessPool:
            pool = self._start()
            future = pool.submit(objective, job)
        self._slots[place] = pool, future
        return future

    def result(self, future: Future[Result]) -> Result:
        try:
            return future.result()
        except BrokenProcessPool as error:
            raise WorkerDied from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for pool, _ in self._slots:
            pool.shutdown(wait=error is None, cancel_futures=True)


class DaskWorkers(Workers[Job, Result]):
    """The workers of a Dask cluster, as many as there are at the moment.

    They need these sources, and see the checkout's folder at the same path.
    """

    def __init__(self, address: str, threads: int) -> None:
        try:
            from distributed import Client
        except ImportError as error:
            raise StageError(
                f"the scheduler {address} cannot be used: Dask is not installed",
                "Install it with `pip install mnistflow[cluster]`, or set tune.scheduler to null.",
            ) from error
        # What its loggers have to say about a scheduler that is gone is told once, by `_gone`.
        for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._address, self._threads, self._warned = address, threads, False
        try:
            self._client: Client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (OSError, ValueError, AssertionError) as error:
            raise StageError(
                f"no Dask scheduler answers at {address}: {error}",
                f"Start it, or mend tune.scheduler or {ADDRESS_VARIABLE}; null searches on this machine.",
            ) from error
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
        settings = {name: os.environ[name] for name in environment.DEFAULTS if name in os.environ}
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
        self._client.close(timeout=CONNECT_SECONDS)


def _start_process(threads: int) -> None:
    """A local worker ends with the process that started it, in whatever way that ends."""
    Thread(target=_end_with_parent, daemon=True).start()
    _load(threads)


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
