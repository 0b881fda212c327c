"""What a search beyond one process needs: a Dask cluster, hosts for it, and a PostgreSQL server, as processes."""

import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from waiting import WAIT_SECONDS, wait_until

BINARIES = sorted(Path("/usr/lib/postgresql").glob("*/bin"))


@dataclass(frozen=True)
class Host:
    """Where a process runs.

    Attributes:
        address: that others reach it by.
        enter: what a command that runs there begins with.
    """

    address: str = "127.0.0.1"
    enter: tuple[str, ...] = ()


HERE = Host()


@contextmanager
def network_hosts(count: int) -> Iterator[list[Host]]:
    """Make network namespaces that reach each other, and are reached from here, by a bridge.

    That needs root and iproute2. Without them, and in most containers, all hosts are this one.
    """
    with ExitStack() as made:
        hosts = [HERE] * count
        if os.geteuid() == 0 and shutil.which("ip"):
            with suppress(subprocess.CalledProcessError):
                hosts = _make_namespaces(count, made)
        yield hosts


def _make_namespaces(count: int, made: ExitStack) -> list[Host]:
    _remove_left_behind()
    own = os.getpid()
    bridge, network = f"mf{own}", f"198.18.{own % 256}"  # of the addresses set aside for tests (RFC 2544)
    hosts = []
    _ip(f"link add {bridge} type bridge")
    made.callback(_ip, f"link delete {bridge}")
    _ip(f"address add {network}.1/24 dev {bridge}")
    _ip(f"link set {bridge} up")
    for number in range(count):
        name, link, address = f"mnistflow-{own}-{number}", f"mf{own}-{number}", f"{network}.{number + 2}"
        _ip(f"netns add {name}")
        made.callback(_ip, f"netns delete {name}")
        _ip(f"link add {link} type veth peer name eth0 netns {name}")
        _ip(f"link set {link} master {bridge} up")
        _ip(f"-netns {name} address add {address}/24 dev eth0")
        for device in ("lo", "eth0"):
            _ip(f"-netns {name} link set {device} up")
        hosts.append(Host(address, ("ip", "netns", "exec", name)))
    return hosts


def _remove_left_behind() -> None:
    """Remove the namespaces and bridges of tests that were killed."""
    for owner in set(re.findall(r"mnistflow-(\d+)-", _ip("netns list"))):
        if not psutil.pid_exists(int(owner)):
            for name in re.findall(rf"mnistflow-{owner}-\d+", _ip("netns list")):
                _ip(f"netns delete {name}")
            with suppress(subprocess.CalledProcessError):
                _ip(f"link delete mf{owner}")


def _ip(command: str) -> str:
    return subprocess.run(["ip", *command.split()], check=True, capture_output=True, text=True).stdout


@dataclass
class Cluster:
    """A Dask scheduler with workers of one thread."""

    address: str
    scheduler: subprocess.Popen[bytes]
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def add_worker(self, host: Host = HERE, **environment: str) -> subprocess.Popen[bytes]:
        arguments = (self.address, "--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", ".")
        worker = _start(host, "dask_worker", *arguments, "--name", f"worker-{len(self.workers)}", **environment)
        self.workers.append(worker)
        return worker

    @contextmanager
    def occupied(self, worker: subprocess.Popen[bytes]) -> Iterator[None]:
        """Let a worker do something else in the block."""
        from distributed import Client, Event

        with Client(self.address, set_as_default=False) as client:
            end = Event(client=client)
            name = f"worker-{self.workers.index(worker)}"
            other = client.submit(lambda event: Event(event).wait(), end.name, workers=[name])
            try:
                yield
            finally:
                end.set()
                other.result()


@contextmanager
def dask_cluster(workers: int, hosts: Sequence[Host] = (HERE,)) -> Iterator[Cluster]:
    """Start a scheduler on the first host and workers on the last ones, and end them."""
    from distributed import Client

    port = free_port()
    arguments = ("--host", hosts[0].address, "--port", str(port), "--no-dashboard")
    cluster = Cluster(f"tcp://{hosts[0].address}:{port}", _start(hosts[0], "dask_scheduler", *arguments))
    try:
        wait_for_port(port, cluster.scheduler, hosts[0].address)
        for number in range(workers):
            cluster.add_worker(hosts[-1 - number % len(hosts)])
        if workers:
            with Client(cluster.address, set_as_default=False) as client:
                client.wait_for_workers(workers)
        yield cluster
    finally:
        for process in (*cluster.workers, cluster.scheduler):
            process.kill()
            process.wait()


def _start(host: Host, command: str, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*host.enter, sys.executable, "-m", f"distributed.cli.{command}", *arguments],
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
            ready = [str(BINARIES[-1] / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(port)]
            wait_until(lambda: subprocess.run(ready, check=False).returncode == 0, server)
            yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def wait_for_port(port: int, process: subprocess.Popen[Any], host: str = "127.0.0.1") -> None:
    """Wait until the process listens."""

    def listens() -> bool:
        try:
            socket.create_connection((host, port), timeout=WAIT_SECONDS).close()
        except OSError:
            return False
        return True

    wait_until(listens, process)
