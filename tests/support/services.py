"""`mnistflow up` and `mnistflow schedule` as a user runs them: what they print, where they answer, what they leave."""

import json
import re
import signal
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psutil
import waiting
from checkouts import Checkout, still_running

READY = "Ctrl-C stops all services."
ADDRESS = re.compile(r"^ *(MLflow|Prefect|Prefect's API|predictions) +(http://\S+) *$", re.MULTILINE)


@dataclass(frozen=True)
class Running:
    """A command that has printed that all of it works.

    Attributes:
        output: what it printed until then.
        pages: what it printed to open in a browser, by the name of the service.
        addresses: those of the servers behind the pages.
    """

    process: subprocess.Popen[str]
    output: str

    @property
    def pages(self) -> Mapping[str, str]:
        return dict(ADDRESS.findall(self.output))

    @property
    def addresses(self) -> Mapping[str, str]:
        return {name: page.partition("/#")[0] for name, page in self.pages.items()}

    @property
    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self, number: signal.Signals = signal.SIGINT) -> list[psutil.Process]:
        """Send a signal to the command alone, wait for its end, and return those of its family that are left."""
        family = self.family
        self.process.send_signal(number)
        self.process.communicate()
        return still_running(family)


@contextmanager
def running(checkout: Checkout, command: str) -> Iterator[Running]:
    """Start a command and yield it when all of it works; whatever happens in the block, it does not outlive it."""
    started = start(checkout, command)
    try:
        yield started
    finally:
        if started.process.poll() is None:
            started.stop(signal.SIGKILL)


def start(checkout: Checkout, command: str) -> Running:
    return ready(checkout.start(command))


def ready(process: subprocess.Popen[str]) -> Running:
    """Wait until a started command prints that all of it works."""
    output = ""
    assert process.stdout
    for line in process.stdout:
        output += line
        if READY in line:
            return Running(process, output)
    raise AssertionError(output)


def schedules(checkout: Checkout) -> dict[str, str]:
    """Return the state of each deployment, as `status` tells it."""
    found = json.loads(checkout.run("status", "--json").stdout)["schedules"]
    return {entry["deployment"]: entry["state"] for entry in found}


def flow_runs(api: str) -> list[dict[str, Any]]:
    """Return the flow runs that a Prefect API knows, the newest first."""
    answer = waiting.post(f"{api}/flow_runs/filter", json={"sort": "START_TIME_DESC"}).raise_for_status()
    found: list[dict[str, Any]] = answer.json()
    return found


def process_of(run_id: str, command: psutil.Process) -> psutil.Process | None:
    """Return the process below a command that runs a flow run."""
    for process in command.children(recursive=True):
        try:
            if process.environ().get("PREFECT__FLOW_RUN_ID") == run_id:
                return process
        except psutil.Error:
            continue
    return None


def delete_deployments(api: str, names: Iterable[str]) -> None:
    for name in names:
        known = waiting.get(f"{api}/deployments/name/{name}")
        if known.is_success:
            httpx.delete(f"{api}/deployments/{known.json()['id']}").raise_for_status()
