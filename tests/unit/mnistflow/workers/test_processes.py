"""Worker processes that die, or whose jobs and results cannot be pickled: each costs one job."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import jobs
import psutil
import pytest
from waiting import wait_until

from mnistflow.transient import is_transient
from mnistflow.workers.base import WorkerDied
from mnistflow.workers.processes import LocalWorkers


@pytest.fixture(scope="module")
def workers() -> Iterator[LocalWorkers[Any, Any]]:
    with LocalWorkers[Any, Any]([os.sched_getaffinity(0)]) as running:
        yield running


def call(workers: LocalWorkers[Any, Any], function: Callable[[Any], Any], job: object) -> Any:
    return workers.result(workers.submit(function, job))


def test_a_worker_runs_one_job_after_another(workers: LocalWorkers[Any, Any]) -> None:
    assert [call(workers, jobs.double, number) for number in range(3)] == [0, 2, 4]
    assert call(workers, os.getpgid, 0) != os.getpgid(0)
    assert call(workers, os.sched_getaffinity, 0) == os.sched_getaffinity(0)


@pytest.mark.parametrize(
    ("function", "job", "code"), [(jobs.die, signal.SIGKILL, -9), (jobs.die, signal.SIGTERM, -15), (jobs.leave, 3, 3)]
)
def test_the_death_of_a_worker_costs_its_job_only(
    workers: LocalWorkers[Any, Any], function: Callable[[Any], Any], job: int, code: int
) -> None:
    with pytest.raises(WorkerDied, match=f"ended with {code}"):
        call(workers, function, job)
    assert call(workers, jobs.double, 1) == 2


def test_the_end_of_workers_ends_a_job_that_drops_interrupts_its_own_workers_and_its_temporary_files(
    tmp_path: Path,
) -> None:
    note = tmp_path / "note"
    with LocalWorkers[Any, Any]([os.sched_getaffinity(0)]) as workers:
        workers.submit(jobs.hold_and_drop_interrupts, note)
        wait_until(note.exists)
        pid, temporary = note.read_text().split()
        inner = psutil.Process(int(pid))
        assert Path(temporary).exists()
    wait_until(lambda: not inner.is_running())
    assert not Path(temporary).exists()


def test_a_worker_that_died_without_a_job_is_replaced(workers: LocalWorkers[Any, Any]) -> None:
    process = psutil.Process(call(workers, jobs.own_pid, None))
    process.kill()
    # The main thread of a process may have ended before its other threads.
    wait_until(
        lambda: process.status() == psutil.STATUS_ZOMBIE and len(list(Path(f"/proc/{process.pid}/task").iterdir())) == 1
    )
    assert call(workers, jobs.double, 1) == 2


@pytest.mark.parametrize("function", [jobs.make_unpicklable, jobs.make_unreadable])
def test_a_result_that_cannot_be_passed_on_is_an_error(
    workers: LocalWorkers[Any, Any], function: Callable[[Any], Any]
) -> None:
    with pytest.raises(Exception, match=r"pickle|cannot be read"):
        call(workers, function, None)
    assert call(workers, jobs.double, 1) == 2


def test_a_job_that_cannot_be_read_is_an_error(workers: LocalWorkers[Any, Any]) -> None:
    with pytest.raises(TypeError, match="cannot be read"):
        call(workers, jobs.double, jobs.Unreadable())
    assert call(workers, jobs.double, 1) == 2


def test_an_error_brings_its_traceback_and_whether_it_is_transient(workers: LocalWorkers[Any, Any]) -> None:
    with pytest.raises(ConnectionRefusedError, match="nobody listens") as caught:
        call(workers, jobs.fail, None)
    assert is_transient(caught.value)
    assert "in fail" in caught.value.__notes__[0]


def start_holder(tmp_path: Path) -> tuple[subprocess.Popen[bytes], psutil.Process]:
    """Start a process whose worker has a job that lasts; return both."""
    file = tmp_path / "pid"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    parent = subprocess.Popen([sys.executable, "-c", f"import jobs; jobs.hold({str(file)!r})"], env=environment)
    wait_until(file.exists, parent)
    return parent, psutil.Process(int(file.read_text()))


def test_a_worker_ends_with_its_killed_parent_in_the_middle_of_a_job(tmp_path: Path) -> None:
    parent, worker = start_holder(tmp_path)
    parent.kill()
    parent.wait()
    wait_until(lambda: not worker.is_running())


def test_a_hangup_that_nohup_ignores_leaves_parent_and_worker_running(tmp_path: Path) -> None:
    parent, worker = start_holder(tmp_path)
    parent.send_signal(signal.SIGHUP)
    worker.send_signal(signal.SIGHUP)
    assert parent.poll() is None
    assert worker.is_running()
    worker.terminate()
    parent.wait()
    wait_until(lambda: not worker.is_running())
