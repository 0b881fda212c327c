"""Jobs for worker processes, which import them by name."""

import os
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import NoReturn


class Unreadable:
    """A result that pickle writes and cannot read again."""

    def __reduce__(self) -> tuple[Callable[[], NoReturn], tuple[()]]:
        return refuse, ()


def refuse() -> NoReturn:
    raise TypeError("this object cannot be read")


def double(number: int) -> int:
    return 2 * number


def die(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(600)


def own_pid(_job: None) -> int:
    return os.getpid()


def leave(code: int) -> None:
    os._exit(code)


def make_unpicklable(_job: None) -> Callable[[], None]:
    return lambda: None


def make_unreadable(_job: None) -> Unreadable:
    return Unreadable()


def fail(_job: None) -> NoReturn:
    raise ConnectionRefusedError("nobody listens")


def sleep_after_writing_pid(path: Path) -> None:
    _write(path, str(os.getpid()))
    time.sleep(600)


def _write(path: Path, text: str) -> None:
    path.with_suffix(".tmp").write_text(text)
    path.with_suffix(".tmp").rename(path)


def hold(path: str) -> None:
    """Run a worker with a job that lasts, in a process that `nohup` has started."""
    from mnistflow.workers.processes import LocalWorkers

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with LocalWorkers[Path, None]([os.sched_getaffinity(0)]) as workers:
        workers.result(workers.submit(sleep_after_writing_pid, Path(path)))


def hold_and_drop_interrupts(note: Path) -> None:
    """Write the id of a worker of this worker, and a temporary folder, into a file, and last whatever is raised."""
    from mnistflow.workers.processes import LocalWorkers

    workers = LocalWorkers[None, int]([os.sched_getaffinity(0)])
    pid = workers.result(workers.submit(own_pid, None))
    _write(note, f"{pid} {tempfile.mkdtemp()}")
    while True:
        with suppress(BaseException):
            time.sleep(600)
