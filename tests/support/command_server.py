"""Command server: runs `mnistflow` in forks of a process that has imported MLflow, DVC and other packages.

Their import takes several times as long as most commands. The server itself imports nothing of mnistflow: each command
does, and has its own process, environment, folder, arguments, standard output and exit code, as if a shell had started
it. The session's processes share one server, which ends with the session (see `session_guard`).
"""

import array
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

PACKAGES = (
    *("alembic", "dvc.repo", "fastapi", "httpx", "pandas", "psutil", "pydantic", "rich.table", "sqlalchemy.orm"),
    *("typer", "yaml", "mlflow", "mlflow.tracking", "mlflow.store.tracking.sqlalchemy_store"),
    *("mlflow.store.model_registry.sqlalchemy_store", "mlflow.models", "mlflow.artifacts"),
    *("matplotlib.figure", "matplotlib.backends.backend_agg", "sklearn.datasets", "sklearn.model_selection"),
)
SOCKET = "socket"
MOST_BYTES = 1 << 20


def run(
    arguments: Sequence[str], folder: Path, environment: Mapping[str, str], server: Path
) -> subprocess.CompletedProcess[str]:
    """Run `mnistflow` with these arguments in a folder, and wait for its end.

    Args:
        server: folder in which `start` has started the server.
    """
    request = {"arguments": [*arguments], "folder": str(folder), "environment": dict(environment)}
    with (
        socket.socket(socket.AF_UNIX) as connection,
        tempfile.TemporaryFile("w+") as out,
        tempfile.TemporaryFile("w+") as error,
    ):
        connection.connect(str(server / SOCKET))
        socket.send_fds(connection, [b"f"], [out.fileno(), error.fileno()])
        connection.sendall(json.dumps(request).encode())
        connection.shutdown(socket.SHUT_WR)
        code = connection.makefile().read()
        assert code, "the command server has ended"
        out.seek(0)
        error.seek(0)
        return subprocess.CompletedProcess(["mnistflow", *arguments], int(code), out.read(), error.read())


def start(folder: Path, environment: Mapping[str, str]) -> None:
    """Start a server, and wait until it listens."""
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-P", __file__, str(folder / SOCKET)],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=log,
            start_new_session=True,
        )
    assert server.stdout
    assert server.stdout.readline(), (folder / "log").read_text()


def main() -> None:
    """Serve until killed. In the process of a command, return when the command does."""
    for package in PACKAGES:
        import_module(package)
    assert threading.active_count() == 1, "only the main thread survives a fork"
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(sys.argv[1])
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
    """Fork once more: here the command runs, and the process above reports its exit code."""
    _, ancillary, *_ = connection.recvmsg(1, socket.CMSG_SPACE(2 * array.array("i").itemsize))
    outputs = array.array("i", ancillary[0][2])
    with connection.makefile("rb") as stream:
        request = json.loads(stream.read())
    if command := os.fork():
        _, status = os.waitpid(command, 0)
        connection.sendall(str(os.waitstatus_to_exitcode(status)).encode())
        os._exit(0)
    connection.close()
    for target, source in zip((1, 2), outputs, strict=True):
        os.dup2(source, target)
        os.close(source)
    _command(request)


def _command(request: Mapping[str, Any]) -> None:
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = [str(Path(sys.executable).with_name("mnistflow")), *request["arguments"]]
    from flows.__main__ import main as command

    command()


if __name__ == "__main__":
    main()
