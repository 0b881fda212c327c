"""Job loop: keeps workers busy with jobs, and hands over each one that is done."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import islice

from mnistflow.workers.base import Job, JobFunction, Result, Workers

CAPACITY_SECONDS = 5  # interval at which the number of workers is checked


def run_jobs(
    workers: Workers[Job, Result],
    function: JobFunction[Job, Result],
    jobs: Iterator[Job],
    *,
    on_done: Callable[[Job, Callable[[], Result]], bool],
    limit: int | None = None,
) -> None:
    """Run jobs, one a worker.

    Args:
        workers: where the jobs run.
        function: run in a worker for each job.
        jobs: each is taken when a worker is free for it.
        on_done: called with each job that is done, and a function that returns its result or raises as
            `Workers.result` does. Returns whether the job is run again.
        limit: jobs at a time; None: as many as there are workers.

    Raises:
        StageError: no worker is available.
    """
    running: dict[Future[Result], Job] = {}

    def finish(future: Future[Result]) -> None:
        job = running.pop(future)
        if on_done(job, lambda: workers.result(future)):
            running[workers.submit(function, job)] = job

    while True:
        capacity = workers.capacity()
        allowed = capacity if limit is None else min(capacity, limit)
        for job in islice(jobs, max(0, allowed - len(running))):
            running[workers.submit(function, job)] = job
        if not running:
            return
        done = wait(running, CAPACITY_SECONDS, FIRST_COMPLETED).done
        # Dask runs a finished job again if its worker dies while anything refers to the job's future.
        while done:
            finish(done.pop())
