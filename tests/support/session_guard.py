"""Folder and process guard of a test session: what tests have started ends with pytest, even if pytest is killed.

`start` makes a folder and names it in the environment of pytest, which every process below pytest inherits: servers,
workers, databases, browsers, and the workers of pytest-xdist. A watcher, which is a process of its own, waits until
pytest has ended in whatever way. Then it kills all processes that have the folder in their environment, and removes it.

The folder holds what the workers of pytest-xdist share, so that none of them makes it again: see `shared`.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import psutil
from filelock import FileLock

MARK = "TEST_SESSION"
ROUNDS = 50  # a process can start another one while it is being killed
PAUSE_SECONDS = 0.1


def start() -> None:
    """Start the watcher, unless this process belongs to a session that has one."""
    if is_running():
        return
    os.environ[MARK] = tempfile.mkdtemp(prefix="mnistflow-tests-")
    # pytest never writes to this pipe. The watcher reads its end when pytest ends, and in a session of its own it does
    # not receive a Ctrl-C.
    subprocess.Popen(
        [sys.executable, __file__, os.environ[MARK]],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def is_running() -> bool:
    """Whether this process belongs to a test session; benchmarks and the pictures of the docs do not."""
    return MARK in os.environ


def mark() -> dict[str, str]:
    """Environment variables for a process that gets no others of this environment."""
    return {MARK: os.environ[MARK]}


def shared(name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder that the whole session shares; the first worker that needs it makes it.

    Args:
        name: of the folder, the same for the same content.
        make: writes to the folder, which exists. It may start a service, which runs until the session ends.
    """
    folder = Path(os.environ[MARK]) / name
    with FileLock(folder.with_name(f"{name}.lock")):
        if not (folder / "complete").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            (folder / "complete").touch()
    return folder


def marked(value: str) -> Iterator[psutil.Process]:
    """Yield the processes of a session, without this one."""
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.pid != os.getpid() and process.environ().get(MARK) == value:
                yield process


def main() -> None:
    """Wait for the end of pytest, then kill what it has left behind."""
    sys.stdin.read()
    for _ in range(ROUNDS):
        remaining = list(marked(sys.argv[1]))
        for process in remaining:
            with suppress(psutil.Error):
                process.kill()
        if not remaining:
            break
        time.sleep(PAUSE_SECONDS)
    shutil.rmtree(sys.argv[1], ignore_errors=True)


if __name__ == "__main__":
    main()
