"""Service lock: services share it while they use `var/`, so that none of them goes on with files that were replaced.

The kernel releases a lock when its process ends, however that happens.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from mnistflow.errors import MnistflowError
from mnistflow.paths import Paths

FILE = "services.lock"  # in var/


@contextmanager
def shared(paths: Paths) -> Iterator[None]:
    """Keep `var/` from being replaced during the block, or until a program that it executes ends.

    Raises:
        MnistflowError: `var/` is being replaced.
    """
    if paths.var.exists() and not os.access(paths.var, os.W_OK):  # such as a container's, with a volume for the models
        yield
        return
    problem = f"{paths.var} is being replaced by `mnistflow restore`"
    with _locked(paths, fcntl.LOCK_SH, MnistflowError(problem, "Try again when that has ended.")):
        yield


@contextmanager
def exclusive(paths: Paths) -> Iterator[None]:
    """Keep services from running in this checkout during the block.

    Raises:
        MnistflowError: one of them runs.
    """
    problem = f"`mnistflow up`, `schedule`, `serve`, `follow`, `ui` or `team-up` is running in {paths.checkout}"
    with _locked(paths, fcntl.LOCK_EX, MnistflowError(problem, "Stop that process first.")):
        yield


@contextmanager
def _locked(paths: Paths, mode: int, error: MnistflowError) -> Iterator[None]:
    paths.var.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(paths.var / FILE, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        os.set_inheritable(descriptor, True)  # a program that replaces this process, such as the server, keeps the lock
        try:
            fcntl.flock(descriptor, mode | fcntl.LOCK_NB)
        except BlockingIOError:
            raise error from None
        yield
    finally:
        os.close(descriptor)
