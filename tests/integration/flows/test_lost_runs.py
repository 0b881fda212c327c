"""Runs of deployments wait their turn; those whose process was killed free their slot while the server goes on."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import services
import yaml
from checkouts import Checkout, kill_all, make_checkout, write_params
from waiting import get, post, wait_until

pytestmark = pytest.mark.slow

ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}


@pytest.fixture
def scheduled(tmp_path: Path, prefect_api: str, request: pytest.FixtureRequest) -> Iterator[Checkout]:
    """A checkout with a deployment of its own, which runs only when it is asked to: the server has no scheduler."""
    environment = {"PREFECT_API_URL": prefect_api, "PREFECT_RUNNER_POLL_FREQUENCY": "2"}
    with closing(make_checkout(tmp_path / "checkout", **environment)) as made:
        write_params(made, **{"fetch.dataset": "digits"})
        path = made.folder / "prefect.yaml"
        described = yaml.safe_load(path.read_text())
        (nightly,) = [entry for entry in described["deployments"] if entry["name"] == "nightly"]
        nightly |= {"name": request.node.callspec.id, "schedules": [{"cron": "0 0 1 1 *"}]}
        described["deployments"] = [nightly]
        path.write_text(yaml.safe_dump(described))
        yield made


def start_run(api: str, deployment: str) -> str:
    """Ask for a run of a deployment now."""
    known = get(f"{api}/deployments/name/ingest/{deployment}").raise_for_status().json()
    answers: list[httpx.Response] = []

    def is_created() -> bool:
        # Prefect's server answers 503 while its SQLite database is locked by another request, and changes nothing then.
        answers.append(post(f"{api}/deployments/{known['id']}/create_flow_run", json={"state": {"type": "SCHEDULED"}}))
        return answers[-1].status_code != httpx.codes.SERVICE_UNAVAILABLE

    wait_until(is_created)
    return str(answers[-1].raise_for_status().json()["id"])


def read_run(api: str, run_id: str) -> dict[str, Any]:
    found: dict[str, Any] = get(f"{api}/flow_runs/{run_id}").raise_for_status().json()
    return found


def has_ended(api: str, run_id: str) -> bool:
    return read_run(api, run_id)["state_type"] in ENDED


def process_of(run_id: str, command: psutil.Process) -> psutil.Process | None:
    """Return the process below a command that runs a flow run."""
    for process in command.children(recursive=True):
        try:
            if process.environ().get("PREFECT__FLOW_RUN_ID") == run_id:
                return process
        except psutil.Error:
            continue
    return None


@pytest.mark.parametrize("state", ["PENDING", "RUNNING"])
def test_a_run_whose_runner_was_killed_frees_its_slot(
    scheduled: Checkout, prefect_api: str, tmp_path: Path, state: str
) -> None:
    """The deployment allows one run at a time, and further ones wait. Prefect's own reservation lasts minutes."""
    with services.running(scheduled, "schedule") as first:
        lost = start_run(prefect_api, state)
        command = psutil.Process(first.process.pid)
        if state == "RUNNING":
            wait_until(lambda: read_run(prefect_api, lost)["state_type"] == state, first.process)
        wait_until(lambda: process_of(lost, command) is not None, first.process)
        process = process_of(lost, command)
        assert process
        process.send_signal(signal.SIGSTOP)  # so that it stays in this state
        wait_until(lambda: "mnistflow.process.pid" in read_run(prefect_api, lost)["labels"], first.process)
        kill_all(first.process)
    assert read_run(prefect_api, lost)["state_type"] == state
    with services.running(scheduled, "schedule") as second:
        wait_until(lambda: read_run(prefect_api, lost)["state_type"] == "CRASHED", second.process)
        following = [start_run(prefect_api, state) for _ in range(2)]  # the second waits its turn
        for run in following:
            wait_until(partial(has_ended, prefect_api, run), second.process)
            assert read_run(prefect_api, run)["state_name"] == "Completed"
            assert read_run(prefect_api, run)["labels"]["mnistflow.process.pid"]
            assert "dataset:digits" in read_run(prefect_api, run)["tags"]
        copy = replace(scheduled, folder=tmp_path / "copy")
        shutil.copytree(scheduled.folder, copy.folder, ignore=shutil.ignore_patterns("var"))
        (state_there,) = services.schedules(copy).values()
        assert state_there.startswith(f"runs in {scheduled.folder}, which is not this checkout")
