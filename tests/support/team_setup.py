"""A team's set-up as tests use it: its checkout, its variables, Prefect's API, its processes, and outages of them."""

import os
import shlex
import shutil
import signal
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from checkouts import QUICK, ROOT, Checkout, make_checkout, write_params
from services import Running
from waiting import WAIT_SECONDS, wait_until

from flows.team import programs

NEEDED = (programs.POSTGRES, programs.NGINX, programs.PROMETHEUS, *programs.PACKAGES)
GUARD = "flows.processes.process_guard"


@contextmanager
def team_checkout(trials: int) -> Iterator[Checkout]:
    """Make a checkout for a team's set-up; skip the test if something is not installed."""
    for part in NEEDED:
        if not part.is_installed():
            pytest.skip(f"needs {part.name}: {part.fix}")
    # Not in pytest's folder, which PostgreSQL's user cannot enter.
    with tempfile.TemporaryDirectory(prefix="mnistflow-team-") as folder:
        Path(folder).chmod(0o755)
        with closing(make_checkout(Path(folder) / "checkout")) as made:
            shutil.copytree(ROOT / "deploy", made.folder / "deploy")
            write_params(made, **{**QUICK, "tune.trials": str(trials)})
            yield made


def environment(checkout: Checkout) -> dict[str, str]:
    """Return the variables that the set-up has written for commands."""
    path = checkout.folder / "var/team/environment"
    assert path.stat().st_mode & 0o077 == 0
    lines = (shlex.split(line)[1].partition("=") for line in path.read_text().splitlines())
    return {name: value for name, _, value in lines}


def member(checkout: Checkout) -> Checkout:
    """Return the checkout with these variables."""
    return replace(checkout, environment={**checkout.environment, **environment(checkout)})


def part(team: Running, *words: str) -> psutil.Process:
    """Return the process of the set-up, not its guard, whose command line has these words."""
    (found,) = (process for process in _with_words(team, words) if GUARD not in process.cmdline())
    return found


def _with_words(team: Running, words: tuple[str, ...]) -> Iterator[psutil.Process]:
    for process in team.family:
        with suppress(psutil.NoSuchProcess):
            if all(word in process.cmdline() for word in words):
                yield process


@contextmanager
def outage(team: Running, *words: str) -> Iterator[None]:
    """Kill the part of the set-up whose command line has these words; it is started again after the block."""
    (guard,) = (process for process in _with_words(team, words) if GUARD in process.cmdline())
    os.kill(team.process.pid, signal.SIGSTOP)  # the supervisor, which would start it again
    try:
        for process in guard.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.kill()
        yield
    finally:
        os.kill(team.process.pid, signal.SIGCONT)
    wait_until(lambda: any(process.pid != guard.pid for process in _with_words(team, (GUARD, *words))), team.process)


class Prefect:
    """Prefect's API of the set-up."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        user, _, password = variables["PREFECT_API_AUTH_STRING"].partition(":")
        self._client = httpx.Client(
            base_url=variables["PREFECT_API_URL"] + "/", auth=(user, password), timeout=WAIT_SECONDS, verify=False
        )

    def ask(self, method: str, path: str, **options: Any) -> Any:
        answer = self._client.request(method, path, **options).raise_for_status()
        return answer.json() if answer.content else None

    def start(self, deployment: str, **parameters: object) -> str:
        known = self.ask("GET", f"deployments/name/{deployment}")
        created = self.ask("POST", f"deployments/{known['id']}/create_flow_run", json={"parameters": parameters})
        return str(created["id"])

    def run(self, run_id: str) -> dict[str, Any]:
        """Return a flow run; an empty one while the server or its database is away."""
        try:
            found: dict[str, Any] = self.ask("GET", f"flow_runs/{run_id}")
        except httpx.HTTPError:
            return {"state_type": ""}
        return found
