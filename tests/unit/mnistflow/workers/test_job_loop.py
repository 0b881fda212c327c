"""The job loop on worker processes: jobs are taken when a worker is free, and run again if asked for."""

import os
from collections.abc import Callable, Iterator
from typing import Any

import jobs
import pytest

from mnistflow.errors import StageError
from mnistflow.workers import job_loop
from mnistflow.workers.base import WorkerDied
from mnistflow.workers.processes import LocalWorkers


@pytest.fixture(scope="module")
def workers() -> Iterator[LocalWorkers[Any, Any]]:
    with LocalWorkers[Any, Any]([os.sched_getaffinity(0)] * 2) as running:
        yield running


@pytest.mark.parametrize(("limit", "expected"), [(None, 2), (1, 1), (9, 2)])
def test_at_most_one_job_a_worker_and_no_more_than_the_limit(
    workers: LocalWorkers[Any, Any], limit: int | None, expected: int
) -> None:
    taken, ahead = 0, list[int]()
    results: dict[int, int] = {}

    def numbers() -> Iterator[int]:
        nonlocal taken
        for number in range(5):
            taken += 1
            ahead.append(taken - len(results))
            yield number

    def finish(job: int, result: Callable[[], int]) -> bool:
        results[job] = result()
        return False

    job_loop.run_jobs(workers, jobs.double, numbers(), on_done=finish, limit=limit)
    assert results == {number: 2 * number for number in range(5)}
    assert max(ahead) == expected


def test_a_job_is_run_again_as_often_as_asked_for(workers: LocalWorkers[Any, Any]) -> None:
    deaths: list[int] = []

    def finish(job: int, result: Callable[[], object]) -> bool:
        with pytest.raises(WorkerDied):
            result()
        deaths.append(job)
        return len(deaths) < 3

    job_loop.run_jobs(workers, jobs.leave, iter([7]), on_done=finish)
    assert deaths == [7, 7, 7]


def test_what_is_raised_for_a_job_ends_the_loop(workers: LocalWorkers[Any, Any]) -> None:
    def finish(_job: None, result: Callable[[], object]) -> bool:
        try:
            result()
        except ConnectionRefusedError as error:
            raise StageError("no connection", "Start it.") from error
        return False

    with pytest.raises(StageError, match="no connection"):
        job_loop.run_jobs(workers, jobs.fail, iter([None]), on_done=finish)


def test_no_jobs_are_done_at_once(workers: LocalWorkers[Any, Any]) -> None:
    job_loop.run_jobs(workers, jobs.double, iter(()), on_done=lambda *_: pytest.fail("there was none"))
