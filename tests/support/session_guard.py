"""Process guard of a test session: what tests have started ends with pytest, even if pytest is killed.

`start` marks the environment of pytest, which every process below it inherits: servers, workers, databases, browsers,
and the workers of pytest-xdist. A watcher, which is a process of its own, waits until pytest has ended in whatever way.
Then it kills all processes that carry the mark.
"""

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress

import psutil

MARK = "TEST_SESSION"
ROUNDS = 50  # a process can start another one while it is being killed
PAUSE_SECONDS = 0.1


def start() -> None:
    """Start the watcher, unless this process belongs to a session that has one."""
    if MARK in os.environ:
        return
    os.environ[MARK] = uuid.uuid4().hex
    # pytest never writes to this pipe. The watcher reads its end when pytest ends, and in a session of its own it does
    # not receive a Ctrl-C.
    subprocess.Popen(
        [sys.executable, __file__, os.environ[MARK]],
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def mark() -> dict[str, str]:
    """Environment variables for a process that gets no others of this environment."""
    return {MARK: os.environ[MARK]}


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
        if not remaining:
            return
        for process in remaining:
            with suppress(psutil.Error):
                process.kill()
        time.sleep(PAUSE_SECONDS)


if __name__ == "__main__":
    main()
