"""What a search beyond one process needs: a Dask cluster and a PostgreSQL server, as processes of their own."""

import os
import pwd
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@dataclass
class Cluster:
    """A Dask scheduler with workers of one thread."""

    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add_worker(self, **environment: str) -> subprocess.Popen[bytes]:
        arguments = (self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", ".")
        worker = _start("dask_worker", *arguments, **environment)
        self.workers.append(worker)
        return worker


@contextmanager
def dask_cluster(workers: int) -> Iterator[Cluster]:
    """Start a scheduler and workers, and end them."""
    port = free_port()
    address = f"tcp://127.0.0.1:{port}"
    arguments = ("--host", "127.0.0.1", "--port", str(port), "--no-dashboard")
    cluster = Cluster(address, _start("dask_scheduler", *arguments))
    try:
        wait_for_port(port, cluster.scheduler)
        for _ in range(workers):
            cluster.add_worker()
        yield cluster
    finally:
        for process in (*cluster.workers, cluster.scheduler):
            process.kill()
            process.wait()


def _start(command: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", f"distributed.cli.{command}", *arguments],
        env={**os.environ, **environment},
        cwd=tempfile.gettempdir(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@contextmanager
def postgresql() -> Iterator[str]:
    """Start a PostgreSQL server of Debian's package with a database of its own; yield its URL.

    It refuses to run as root, and its user cannot enter pytest's folders: it gets one of its own.
    """
    user = "postgres" if os.geteuid() == 0 else None
    with tempfile.TemporaryDirectory(prefix="postgresql-") as folder:
        if user:
            account = pwd.getpwnam(user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        port = free_port()
        data = str(Path(folder) / "data")
        subprocess.run(
            [str(BINARIES[-1] / "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "--no-sync"],
            check=True,
            cwd=folder,
            user=user,
            stdout=subprocess.DEVNULL,
        )
        settings = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
        server = subprocess.Popen(
            [str(BINARIES[-1] / "postgres"), "-D", data, "-p", str(port), *settings],
            cwd=folder,
            user=user,
            stderr=subprocess.DEVNULL,
        )
        try:
            wait_for_port(port, server)
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[bytes], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        except OSError:
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
