"""Dask workers: run jobs on a cluster whose scheduler is named by its address."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from concurrent.futures import CancelledError, Future
from functools import cache
from threading import Lock
from types import TracebackType

from mnistflow import environment
from mnistflow.checkout import digests
from mnistflow.errors import StageError
from mnistflow.runtime import backend, tensorflow_import
from mnistflow.workers import dask_scheduler
from mnistflow.workers.base import Job, JobFunction, Result, Workers

logger = logging.getLogger(__name__)


class DaskWorkers(Workers[Job, Result]):
    """All current workers of a Dask cluster.

    The workers need the same sources of mnistflow, and the checkout at the same path.
    """

    def __init__(self, address: dask_scheduler.Address, threads: int) -> None:
        self._address, self._threads, self._warned = address, threads, False
        self._client = dask_scheduler.connect(address)
        self._executor = self._client.get_executor(pure=False)
        logger.info("working on the Dask cluster at %s: %d workers", address, len(self._client.nthreads()))

    def capacity(self) -> int:
        try:
            count = len(self._client.nthreads())
        except (OSError, ValueError, AttributeError, CancelledError) as error:
            # Which of these a lost connection raises depends on timing.
            raise self._gone() from error
        if not count and not self._warned:
            logger.warning("the Dask cluster at %s has no workers: waiting for one", self._address)
            self._warned = True
        return max(count, 1)

    def submit(self, function: JobFunction[Job, Result], job: Job) -> Future[Result]:
        known = (*environment.DEFAULTS, *tensorflow_import.ONEDNN, backend.VARIABLE)
        settings = {name: os.environ[name] for name in known if name in os.environ}
        call = (_run_on_dask, function, job, settings, self._threads, digests.code_digest())
        future: Future[Result] = self._executor.submit(*call)
        return future

    def result(self, future: Future[Result]) -> Result:
        from distributed import KilledWorker

        try:
            return future.result()
        except KilledWorker as error:
            raise StageError(
                f"a job has ended every Dask worker that tried it, most likely because memory ran out: {error}",
                "Give the workers more memory and start again: what is finished is kept.",
                transient=False,
            ) from error
        except CancelledError as error:
            raise self._gone() from error

    def _gone(self) -> StageError:
        return StageError(
            f"the Dask scheduler at {self._address} is gone",
            "Start it and its workers, then start again: what is finished is kept.",
            transient=True,
        )

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close(timeout=dask_scheduler.CONNECT_SECONDS)


@cache
def _load(threads: int) -> None:
    """Load TensorFlow once a process."""
    backend.load_tensorflow(threads)


_one_at_a_time = Lock()


def _run_on_dask(
    function: JobFunction[Job, Result], job: Job, settings: Mapping[str, str], threads: int, code: str
) -> Result:
    """Run a job in a worker that may have been started with other settings, threads or sources."""
    if digests.code_digest() != code:
        raise StageError(
            f"the Dask worker {os.uname().nodename} has different sources of mnistflow than this command",
            "Install the same version there and start the worker again.",
        )
    with _one_at_a_time:
        os.environ.update(settings)
        # A job that waited for jobs of its own would wait for this worker, which it occupies.
        os.environ.pop(dask_scheduler.VARIABLE, None)
        _load(threads)
        return function(job)
