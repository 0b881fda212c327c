"""Jobs for worker processes, which import them by name."""

import os
import signal
import time
from collections.abc import Callable
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
    path.with_suffix(".tmp").write_text(str(os.getpid()))
    path.with_suffix(".tmp").rename(path)
    try:
        time.sleep(600)
    finally:
        path.with_name("closed").write_text("")


def hold(path: str) -> None:
    """Run a worker with a job that lasts, in a process that `nohup` has started."""
    from mnistflow.workers.processes import LocalWorkers

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with LocalWorkers[Path, None]([os.sched_getaffinity(0)]) as workers:
        workers.result(workers.submit(sleep_after_writing_pid, Path(path)))


def drop_an_interrupt(folder: str) -> None:
    """Drop the first KeyboardInterrupt, as C code does that clears errors; note that the next one cleans up."""
    Path(folder, "begun").touch()
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        Path(folder, "dropped").touch()
    try:
        time.sleep(600)
    finally:
        time.sleep(2.5)  # longer than the time until an interrupt is raised again
        Path(folder, "cleaned").touch()
