"""Command server: runs Python programs in forks of a process that has imported TensorFlow, MLflow, DVC and others.

Their import takes several times as long as most commands. The server itself imports nothing of mnistflow: each program
does, and has its own process, environment, folder, arguments, streams and exit code, as if a shell had started it. The
session's processes share one server, which ends with the session (see `session_guard`).

Programs reach it in two ways: `run`, and the executables in the folder `PROGRAMS` of the server. `mnistflow` and `dvc`
are for the PATH of shells and of DVC; `python` becomes `sys.executable` of each program, so that the worker processes
of a command are forks of the server too.
"""

import fcntl
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

PACKAGES = (
    *("alembic", "dvc.cli.parser", "dvc.repo", "fastapi", "httpx", "pandas", "psutil", "pydantic", "rich.table"),
    *("sqlalchemy.orm", "typer", "yaml", "mlflow", "mlflow.tracking", "mlflow.store.tracking.sqlalchemy_store"),
    *("mlflow.store.model_registry.sqlalchemy_store", "mlflow.models", "mlflow.artifacts"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "sklearn.datasets", "sklearn.model_selection"),
    *("tensorflow", "keras", "tf2onnx", "onnx", "onnxruntime", "optuna", "skl2onnx"),
)
SOCKET, PROGRAMS = "socket", "bin"
ENTRY_POINTS = {"mnistflow": "flows.__main__:main", "dvc": "dvc.cli:main"}
WORKER, COMMANDS = "mnistflow.workers.worker_process", "flows"
MAX_DESCRIPTORS = 8
SPARE_DESCRIPTOR = 100  # above those that programs are given
# Runs `mnistflow` in a process with another `sys.executable`.
MNISTFLOW = """
import sys
sys.executable, *sys.argv = sys.argv[1:]
from flows.__main__ import main
main()
"""
PROGRAM = """#!{} -IS
import sys
sys.path.insert(0, {!r})
import command_server
command_server.become({!r}, {!r})
"""


def run(
    program: str, arguments: Sequence[str], folder: Path, environment: Mapping[str, str], server: Path
) -> subprocess.CompletedProcess[str]:
    """Run a program in a folder, and wait for its end.

    Args:
        program: `module:function`, `-m module` or `-c code`.
        arguments: of the program, which begin with its name.
        server: folder in which `start` has started the server.
    """
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as error:
        streams = {1: out.fileno(), 2: error.fileno()}
        with _ask(program, arguments, str(folder), environment, streams, str(server / SOCKET)) as connection:
            code = _exit_code(connection)
        out.seek(0)
        error.seek(0)
        return subprocess.CompletedProcess([*arguments], code, out.read(), error.read())


def start(folder: Path, environment: Mapping[str, str]) -> None:
    """Start a server, and wait until it listens."""
    (folder / PROGRAMS).mkdir()
    for name in (*ENTRY_POINTS, "python"):
        program = folder / PROGRAMS / name
        program.write_text(PROGRAM.format(sys.executable, str(Path(__file__).parent), name, str(folder / SOCKET)))
        program.chmod(0o755)
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-P", __file__, str(folder)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert server.stdout
    assert server.stdout.readline(), (folder / "log").read_text()


def become(name: str, address: str) -> NoReturn:
    """Act as a program: let the server run it with the streams of this process, and end as it ends.

    Of Python, the server runs worker processes and commands; for all else, this process becomes Python itself.
    """
    arguments, descriptors = sys.argv, [0, 1, 2]
    if name != "python":
        program = ENTRY_POINTS[name]
    else:
        arguments = arguments[2 if arguments[1:2] == ["-P"] else 1 :]
        if arguments[:2] not in (["-m", WORKER], ["-m", COMMANDS]):
            os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
        program, arguments = f"-m {arguments[1]}", arguments[1:]
        if arguments[0] == WORKER:
            descriptors.append(int(arguments[1]))
    streams = {descriptor: descriptor for descriptor in descriptors}
    connection = _ask(program, arguments, str(Path.cwd()), os.environ, streams, address)

    def pass_on(number: int, _frame: FrameType | None) -> None:
        with suppress(OSError):  # the program has ended
            connection.sendall(bytes([number]))

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, pass_on)
    code = _exit_code(connection)
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    os._exit(code)


def _ask(
    program: str,
    arguments: Sequence[str],
    folder: str,
    environment: Mapping[str, str],
    streams: Mapping[int, int],
    address: str,
) -> socket.socket:
    """Let the server at an address start a program, which has each of `streams` under the number that is its key."""
    request = {
        "program": program,
        "arguments": [*arguments],
        "folder": folder,
        "environment": dict(environment),
        "descriptors": [*streams],
    }
    content = json.dumps(request).encode()
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(address)
    socket.send_fds(connection, [len(content).to_bytes(4, "big")], [*streams.values()])
    connection.sendall(content)
    return connection


def _exit_code(connection: socket.socket) -> int:
    """Wait for the end of a program and return its exit code, negative for a signal."""
    code = connection.makefile().read()
    assert code, "the command server has ended"
    return int(code)


def main() -> None:
    """Serve until killed. In the process of a program, return when the program does."""
    folder = Path(sys.argv[1])
    for package in PACKAGES:
        import_module(package)
    assert threading.active_count() == 1, "only the main thread survives a fork"
    sys.executable = str(folder / PROGRAMS / "python")
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(folder / SOCKET))
    listener.listen(64)
    os.write(1, b"ready\n")
    while True:
        connection, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _attend(connection)
            return
        connection.close()
        _reap()


def _reap() -> None:
    while True:
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                return
        except ChildProcessError:
            return


def _attend(connection: socket.socket) -> None:
    """Fork once more: the program runs in that process, and this one oversees it."""
    header, descriptors, *_ = socket.recv_fds(connection, 4, MAX_DESCRIPTORS)
    request = json.loads(connection.recv(int.from_bytes(header, "big"), socket.MSG_WAITALL))
    if program := os.fork():
        for descriptor in descriptors:
            os.close(descriptor)
        _oversee(program, connection)
        os._exit(0)
    connection.close()
    spare = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, SPARE_DESCRIPTOR) for descriptor in descriptors]
    for descriptor in descriptors:
        os.close(descriptor)
    for descriptor, wanted in zip(spare, request["descriptors"], strict=True):
        os.dup2(descriptor, wanted)
        os.close(descriptor)
    _execute(request)


def _oversee(program: int, connection: socket.socket) -> None:
    """Pass signals on to a program, kill it when whoever has asked for it ends, and report its exit code."""
    ended = os.pidfd_open(program)
    sources: list[int | socket.socket] = [ended, connection]
    while ended not in select.select(sources, [], [])[0]:
        received = connection.recv(1)
        os.kill(program, received[0] if received else signal.SIGKILL)
        if not received:
            break
    _, status = os.waitpid(program, 0)
    with suppress(OSError):
        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())


def _execute(request: Mapping[str, Any]) -> None:
    os.setsid()
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    first = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [folder for folder in first if folder and folder not in sys.path]
    sys.argv = request["arguments"]
    kind, _, name = request["program"].partition(" ")
    if kind == "-m":
        runpy.run_module(name, run_name="__main__", alter_sys=True)
    elif kind == "-c":
        exec(compile(name, "<string>", "exec"), {"__name__": "__main__"})
    else:
        module, _, function = kind.partition(":")
        sys.exit(getattr(import_module(module), function)())


if __name__ == "__main__":
    main()
