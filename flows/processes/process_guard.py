"""Process guard: runs a command as a process that cannot outlive the process that started it.

`python -m flows.processes.process_guard MODULE ARGUMENT...` runs `python -m MODULE`, and with the absolute path of a
program that program, while its standard input stays open. The starting process holds the other end of that pipe: when
it closes the pipe or dies, the guard ends the command and all processes of its session. Start the guard in a session of
its own. It exits with the command's exit code.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from types import FrameType

import psutil

FINISH_SECONDS = 12.0  # for the command to finish work in progress
LEAVE_SECONDS = 3.0  # for processes that it left behind
STOP_SECONDS = FINISH_SECONDS + LEAVE_SECONDS + 2


def start(
    command: tuple[str, ...],
    folder: Path,
    log: Path,
    default_environment: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a command under a guard: it ends with this process.

    Args:
        command: module or absolute path of a program, and arguments.
        folder: working directory of the command.
        log: file that the output of the command is appended to.
        default_environment: variables that it gets where the user has not set them.
        environment: variables that it gets whatever the user has set.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.processes.process_guard", *command],
            cwd=folder,
            env={**(default_environment or {}), **os.environ, **(environment or {})},
            stdin=subprocess.PIPE,
            stdout=stream,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def release(process: subprocess.Popen[bytes]) -> None:
    """End a process that `start` returned and everything that it has started, and wait for that."""
    if process.stdin:
        process.stdin.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def main() -> None:
    """Run the command until it ends by itself, standard input closes, or a SIGTERM comes."""
    interpreter = [] if Path(sys.argv[1]).is_absolute() else [sys.executable, "-m"]
    command = subprocess.Popen([*interpreter, *sys.argv[1:]], stdin=subprocess.DEVNULL)

    def pass_on(_signal: int, _frame: FrameType | None) -> None:
        command.terminate()

    signal.signal(signal.SIGTERM, pass_on)
    threading.Thread(target=_end_when_released, args=(command,), daemon=True).start()
    code = command.wait()
    _end_the_rest()
    sys.exit(code if code >= 0 else 128 - code)


def _end_when_released(command: subprocess.Popen[bytes]) -> None:
    os.read(sys.stdin.fileno(), 1)
    command.terminate()
    try:
        command.wait(FINISH_SECONDS)
    except subprocess.TimeoutExpired:
        command.kill()


def _end_the_rest() -> None:
    rest = list(_session())
    for process in rest:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    _, stubborn = psutil.wait_procs(rest, timeout=LEAVE_SECONDS)
    for process in stubborn:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _session() -> Iterator[psutil.Process]:
    """Yield the other processes of this session: unlike children, also those whose parent has ended."""
    for process in psutil.process_iter():
        with suppress(ProcessLookupError, PermissionError):
            if process.pid != os.getpid() and os.getsid(process.pid) == os.getsid(0):
                yield process


if __name__ == "__main__":
    main()
