"""The system under demonstration: a checkout of its own, its commands, prediction servers, and schedules, all real."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml
from orchestration import ROOT, copy_checkout

from flows.orchestration import requested_runs, server_address
from flows.processes import ports
from mnistflow import config, environment
from mnistflow.monitoring import state
from mnistflow.paths import Paths

OF_TOOLS = ("MLFLOW_", "PREFECT_", "DVC_", "MNISTFLOW_")
KEPT = "MNISTFLOW_MIRRORS"
HOST = "127.0.0.1"
WAIT_SECONDS = 900.0
ANSWER_SECONDS = 60.0
PAUSE_SECONDS = 0.25
MODEL = "mnist-classifier"
LOOK = "monitor/hourly"
# Every image is logged, and no version is refused because the machine is busy with a retraining.
OF_SERVER = {
    "MNISTFLOW_SERVE_LOGGED_PER_SECOND": "100000",
    "MNISTFLOW_SERVE_CANDIDATE_SECONDS": "120",
    "MNISTFLOW_SERVE_SLOWEST_SECONDS": "5",
}


def make_checkout(folder: Path) -> Paths:
    """Copy the sources into a new folder, as after a clone, and let this process and its children use that.

    Args:
        folder: must not exist.
    """
    copy_checkout(folder)
    paths = Paths(folder, folder)
    _without_times(folder / "prefect.yaml")
    identity = ("-c", "user.name=demo", "-c", "user.email=demo@localhost")
    for command in (("init", "-q"), ("add", "."), (*identity, "commit", "-qm", "start")):
        subprocess.run(["git", *command], cwd=folder, check=True)
    for name in [name for name in os.environ if name.startswith(OF_TOOLS) and name != KEPT]:
        del os.environ[name]
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    os.environ.update(OF_SERVER)
    environment.configure(paths)
    return paths


def write_params(paths: Paths, values: Mapping[str, Any]) -> None:
    """Write params.yaml of a checkout: the defaults with overrides, by dotted key."""
    config.write_with_overrides(ROOT / "params.yaml", paths.params, values)


def _without_times(path: Path) -> None:
    """Take the times out of prefect.yaml: here, a look is due at the end of a simulated week."""
    tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    for deployment in tree["deployments"]:
        deployment["schedules"] = []
    path.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")


class System:
    """The loop and its prediction server.

    Args:
        paths: of the checkout.
        server: address of the prediction server.
    """

    def __init__(self, paths: Paths, server: str) -> None:
        self.paths = paths
        self.server = server
        self._looks = 0

    def look(self) -> None:
        """Take a look as the schedule does, and wait for it and for the retraining that it has started."""
        self._looks += 1
        _wait_for_run(requested_runs.submit(LOOK, {"dataset": "mnist"}, f"look {self._looks}"))
        known = state.read(self.paths, MODEL)
        if known and known.attempts and known.attempts[-1].outcome == "running":
            _wait_for_run(known.attempts[-1].flow_run)

    def wait_until_served(self, version: int) -> None:
        """Wait until the server answers with a version."""
        with client(self.server) as asking:
            wait_until(lambda: asking.get("/status").json()["models"][MODEL]["champion"] == version)


def client(address: str) -> httpx.Client:
    """Return a client of a prediction server, patient with a busy machine."""
    return httpx.Client(base_url=address, timeout=ANSWER_SECONDS)


def run(paths: Paths, *arguments: str) -> str:
    """Run a command of `mnistflow` in the checkout, and return what it prints.

    Raises:
        RuntimeError: it failed.
    """
    command = ["mnistflow", *arguments]
    done = subprocess.run(command, cwd=paths.checkout, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command[:3])} failed: {(done.stderr or done.stdout)[-2000:]}")
    return done.stdout


@contextmanager
def scheduling(paths: Paths) -> Iterator[None]:
    """Run `mnistflow schedule` in the block; commands use its Prefect server."""
    with _running(paths, "schedule", ["mnistflow", "schedule"]):
        wait_until(lambda: server_address.running_server(paths) is not None)
        os.environ[server_address.API_VARIABLE] = str(server_address.running_server(paths))
        yield


@contextmanager
def serving(paths: Paths) -> Iterator[str]:
    """Run the prediction server of the checkout in the block, and yield its address."""
    port = ports.reserve(HOST, 8800)
    with _running(paths, "server", ["mnistflow", "serve", "--port", str(port)]):
        yield _ready(f"http://{HOST}:{port}")


@contextmanager
def serving_first(paths: Paths) -> Iterator[str]:
    """Run a prediction server of a copy of the model repository as it is now in the block, and yield its address."""
    repository = paths.var / "without-the-loop"
    shutil.copytree(paths.models, repository)
    port = ports.reserve(HOST, 8900)
    command = [sys.executable, "-m", "serving", "--repository", str(repository), "--port", str(port)]
    with _running(paths, "without-the-loop", [*command, "--inference-log", ""]):
        yield _ready(f"http://{HOST}:{port}")


def _ready(address: str) -> str:
    def is_ready() -> bool:
        try:
            return httpx.get(f"{address}/v2/health/ready", timeout=ANSWER_SECONDS).is_success
        except httpx.TransportError:
            return False

    wait_until(is_ready)
    return address


@contextmanager
def _running(paths: Paths, name: str, command: Sequence[str]) -> Iterator[None]:
    log = paths.var / "logs" / f"demo-{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=paths.checkout, stdout=output, stderr=output, start_new_session=True, stdin=subprocess.DEVNULL
        )
        try:
            yield
        finally:
            process.terminate()
            try:
                process.wait(ANSWER_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)


def _wait_for_run(flow_run: str) -> None:
    outcomes: list[str] = []

    def ended() -> bool:
        outcomes.append(requested_runs.outcome(flow_run))
        return outcomes[-1] != "running"

    wait_until(ended)
    if outcomes[-1] == "failed":
        raise RuntimeError(f"flow run {flow_run} has failed: see var/logs of the checkout")


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds.

    Raises:
        TimeoutError: it does not within minutes.
    """
    end = time.monotonic() + WAIT_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError("the demo waits for something that does not happen: see var/logs of its checkout")
        time.sleep(PAUSE_SECONDS)
