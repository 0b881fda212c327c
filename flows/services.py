"""Long-running processes of this project, started together and ended together."""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

import httpx
from rich.console import Console
from rich.table import Table

from flows import deployments
from mnistflow.errors import MnistflowError
from mnistflow.project import Project

START_SECONDS = 120
STOP_SECONDS = 15
POLL_SECONDS = 0.3

console = Console()


@dataclass(frozen=True)
class Service:
    """A process and how to tell that it works.

    Attributes:
        address: what a user opens; empty when there is nothing to open.
        health: URL that answers 200 once the service works; empty when it cannot be asked.
        startable: asked again until it is true; the service starts then.
        waiting: what to tell the user until then.
    """

    name: str
    command: tuple[str, ...]
    address: str = ""
    health: str = ""
    environment: dict[str, str] = field(default_factory=dict)
    startable: Callable[[], bool] = lambda: True
    waiting: str = ""


def up(project: Project, host: str) -> None:
    """Run the MLflow UI, the Prefect server, the schedules and the prediction server until Ctrl-C.

    Raises:
        MnistflowError: one of them does not start, or ends by itself.
    """
    prefect, prefect_services = _prefect(host)
    services = [*_mlflow(host), *prefect_services, _predictions(project, host)]
    _run(project, services, prefect)


def schedule(project: Project) -> None:
    """Run the schedules, and a Prefect server unless `PREFECT_API_URL` names one, until Ctrl-C.

    Raises:
        MnistflowError: one of them does not start, or ends by itself.
    """
    prefect, services = _prefect("127.0.0.1")
    _run(project, services, prefect)


def _mlflow(host: str) -> list[Service]:
    uri = os.environ["MLFLOW_TRACKING_URI"]
    if uri.startswith("http"):
        console.print(f"experiments are in {uri}")
        return []
    port = _free_port(host, 5000)
    command = ("-m", "mlflow", "server", "--backend-store-uri", uri, "--host", host, "--port", str(port))
    address = f"http://{host}:{port}"
    # Its job workers are for language models, and take a gigabyte.
    lean = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return [Service("MLflow", (*command, "--workers", "1"), address, f"{address}/health", lean)]


def _prefect(host: str) -> tuple[str, list[Service]]:
    """Return the API's address, and the processes it takes to run deployments there."""
    url = os.environ.get(deployments.API_VARIABLE)
    server = []
    if not url:
        port = _free_port(host, 4200)
        url = f"http://{host}:{port}/api"
        command = ("-m", "prefect", "server", "start", "--host", host, "--port", str(port))
        address = url.removesuffix("/api")
        server = [Service("Prefect", command, address, f"{url}/health", {"PREFECT_UI_API_URL": url})]
    known = {deployments.API_VARIABLE: url}
    answers = _answers(f"{url}/health")
    runner = Service("schedules", ("-m", "flows.runner"), environment=known, startable=answers)
    return url, [*server, runner]


def _predictions(project: Project, host: str) -> Service:
    port = _free_port(host, 8000)
    address = f"http://{host}:{port}"
    command = ("-m", "serving", "--repository", str(project.models), "--host", host, "--port", str(port))
    return Service(
        "predictions",
        command,
        address,
        f"{address}/v2/health/ready",
        startable=lambda: any(project.models.glob("*/champion")),
        waiting="no model yet: `make run` in another terminal makes one, and it will be served here",
    )


def _run(project: Project, services: Sequence[Service], prefect: str) -> None:
    running: dict[str, subprocess.Popen[bytes]] = {}
    with _stopped_by_signals(), _all_stopped(project, running):
        _start(project, services, running)
        deployments.note_server(project, prefect)
        _print_addresses(services, running)
        while True:
            _check(project, running)
            for service in services:
                if service.name not in running and service.startable():
                    running[service.name] = _launch(project, service)
                    console.print(f"{service.name}: {service.address}")
            time.sleep(POLL_SECONDS)


def _start(project: Project, services: Sequence[Service], running: dict[str, subprocess.Popen[bytes]]) -> None:
    """Start what can start, all at once, and wait until it works."""
    deadline = time.monotonic() + START_SECONDS
    waiting = {service.name: service for service in services}
    while waiting:
        for service in list(waiting.values()):
            if service.name not in running and service.startable():
                running[service.name] = _launch(project, service)
            if service.name not in running and service.waiting:
                console.print(service.waiting)
                del waiting[service.name]
            elif service.name in running and (not service.health or _answers(service.health)()):
                console.print(f"{service.name} is up")
                del waiting[service.name]
        _check(project, running)
        if time.monotonic() > deadline:
            late = ", ".join(waiting)
            raise MnistflowError(f"{late} did not start within {START_SECONDS} s", f"See {_logs(project)}.")
        time.sleep(POLL_SECONDS)


def _launch(project: Project, service: Service) -> subprocess.Popen[bytes]:
    log = _log(project, service.name)
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, *service.command],
            cwd=project.home,
            env={**os.environ, **service.environment},
            stdout=stream,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            # A group of its own can be ended as a whole, and Ctrl-C reaches it through this process only.
            start_new_session=True,
            preexec_fn=_end_with_parent,  # noqa: PLW1509
        )


def _end_with_parent() -> None:
    """Ask Linux for SIGTERM when the parent dies, even of kill -9; elsewhere there is no such thing."""
    if sys.platform == "linux":
        pr_set_pdeathsig = 1
        ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGTERM)


def _check(project: Project, running: dict[str, subprocess.Popen[bytes]]) -> None:
    for name, process in running.items():
        if process.poll() is not None:
            raise MnistflowError(
                f"{name} ended by itself with exit code {process.returncode}", f"Its log: {_log(project, name)}."
            )


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Ctrl-C and SIGTERM end the block without an error, also where a shell started this process deaf to Ctrl-C."""

    def stop(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signals = (signal.SIGINT, signal.SIGTERM)
    previous = [signal.signal(number, stop) for number in signals]
    try:
        yield
    except KeyboardInterrupt:
        console.print("stopped")
    finally:
        for number, handler in zip(signals, previous, strict=True):
            signal.signal(number, handler)


@contextmanager
def _all_stopped(project: Project, running: dict[str, subprocess.Popen[bytes]]) -> Iterator[None]:
    """Stop whatever runs at the end of the block, groups and all, by force if need be."""
    try:
        yield
    finally:
        deployments.forget_server(project)
        for process in running.values():
            _signal_group(process, signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for process in running.values():
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0, deadline - time.monotonic()))
            _signal_group(process, signal.SIGKILL)
            process.wait()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(process.pid, number)


def _answers(url: str) -> Callable[[], bool]:
    def ask() -> bool:
        try:
            return httpx.get(url, timeout=2).is_success
        except httpx.HTTPError:
            return False

    return ask


def _free_port(host: str, wanted: int) -> int:
    """Return the wanted port, or the next one that nobody listens on."""
    for port in range(wanted, wanted + 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with suppress(OSError):
                probe.bind((host, port))
                return port
    raise MnistflowError(f"no free port from {wanted} to {wanted + 99} on {host}", "Stop what listens there.")


def _print_addresses(services: Sequence[Service], running: dict[str, subprocess.Popen[bytes]]) -> None:
    table = Table(show_header=False, box=None)
    for service in services:
        if service.name in running and service.address:
            table.add_row(f"[bold]{service.name}", service.address)
    console.print(table)
    console.print("Ctrl-C stops all of them.")


def _logs(project: Project) -> Path:
    return project.var / "logs"


def _log(project: Project, name: str) -> Path:
    return _logs(project) / f"{name.lower()}.log"
