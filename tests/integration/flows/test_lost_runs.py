"""Runs of deployments wait their turn; those whose process was killed free their slot while the server goes on."""

import json
import shutil
import signal
import subprocess
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

pytestmark = [pytest.mark.slow, pytest.mark.long]

ENDED = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
STATES = ("PENDING", "RUNNING")


@pytest.fixture
def scheduled(tmp_path: Path, prefect_api: str) -> Iterator[Checkout]:
    """A checkout with a deployment per state, which run only when they are asked to: the server has no scheduler."""
    environment = {"PREFECT_API_URL": prefect_api, "PREFECT_RUNNER_POLL_FREQUENCY": "2"}
    with closing(make_checkout(tmp_path / "checkout", **environment)) as made:
        write_params(made, **{"fetch.dataset": "digits"})
        path = made.folder / "prefect.yaml"
        described = yaml.safe_load(path.read_text())
        (nightly,) = [entry for entry in described["deployments"] if entry["name"] == "nightly"]
        described["deployments"] = [{**nightly, "name": name, "schedules": [{"cron": "0 0 1 1 *"}]} for name in STATES]
        path.write_text(yaml.safe_dump(described))
        yield made
        # The server that all tests share does not notice that a runner has ended.
        services.delete_deployments(prefect_api, [f"ingest/{name}" for name in STATES])


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


def has_crashed(api: str, run_id: str) -> bool:
    return read_run(api, run_id)["state_type"] == "CRASHED"


def start_and_stop(api: str, state: str, command: subprocess.Popen[str]) -> str:
    """Start a run, and stop its process in a state, in which it stays."""
    run = start_run(api, state)
    runner = psutil.Process(command.pid)
    if state == "RUNNING":
        wait_until(lambda: read_run(api, run)["state_type"] == state, command)
    wait_until(lambda: services.process_of(run, runner) is not None, command)
    process = services.process_of(run, runner)
    assert process
    process.send_signal(signal.SIGSTOP)
    wait_until(lambda: "mnistflow.process.pid" in read_run(api, run)["labels"], command)
    return run


def test_runs_whose_runner_was_killed_free_their_slots(scheduled: Checkout, prefect_api: str, tmp_path: Path) -> None:
    """A deployment allows one run at a time, and further ones wait. Prefect's own reservation lasts minutes."""
    with services.running(scheduled, "schedule") as first:
        lost = {state: start_and_stop(prefect_api, state, first.process) for state in STATES}
        kill_all(first.process)
    for state, run in lost.items():
        assert read_run(prefect_api, run)["state_type"] == state
    named = json.loads(scheduled.run("doctor", "--json", check=False).stdout)["wrong"]
    assert {read_run(prefect_api, run)["name"] for run in lost.values()} == {
        finding["problem"].partition(" ")[0] for finding in named if finding["subject"] == "flow run"
    }
    with services.running(scheduled, "schedule") as second:
        for run in lost.values():
            wait_until(partial(has_crashed, prefect_api, run), second.process)
        following = [start_run(prefect_api, state) for state in (*STATES, STATES[0])]  # the last waits its turn
        for run in following:
            wait_until(partial(has_ended, prefect_api, run), second.process)
            assert read_run(prefect_api, run)["state_name"] == "Completed"
            assert read_run(prefect_api, run)["labels"]["mnistflow.process.pid"]
            assert "dataset:digits" in read_run(prefect_api, run)["tags"]
        limit = get(f"{prefect_api}/deployments/name/ingest/{STATES[0]}").json()["global_concurrency_limit"]["id"]
        httpx.patch(f"{prefect_api}/v2/concurrency_limits/{limit}", json={"active_slots": 1}).raise_for_status()
        repaired = json.loads(scheduled.run("doctor", "--repair", "--json").stdout)["repaired"]
        assert [finding["subject"] for finding in repaired] == ["slot"]
        assert get(f"{prefect_api}/v2/concurrency_limits/{limit}").json()["active_slots"] == 0
        copy = replace(scheduled, folder=tmp_path / "copy")
        shutil.copytree(scheduled.folder, copy.folder, ignore=shutil.ignore_patterns("var"))
        for state_there in services.schedules(copy).values():
            assert state_there.startswith(f"runs in {scheduled.folder}, which is not this checkout")
