"""`mnistflow up` and `mnistflow schedule`: everything answers, what is due runs, and nothing is left behind."""

import json
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import pytest
import services
import yaml
from checkouts import Checkout, make_checkout, wait_until, write_params
from services import Running

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("retrained")]


@pytest.fixture
def occupied() -> Iterator[int]:
    """The port that the prediction server would take, taken."""
    with closing(socket.socket()) as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            other.bind(("127.0.0.1", 8000))
            other.listen()
        except OSError:
            pass  # something else on this machine has it: just as well
        yield 8000


@pytest.fixture
def scheduled(checkout: Checkout) -> Checkout:
    """A checkout that ingests digits every minute."""
    write_params(checkout, **{"fetch.dataset": "digits"})
    path = checkout.folder / "prefect.yaml"
    described = yaml.safe_load(path.read_text())
    described["deployments"] = [entry for entry in described["deployments"] if entry["name"] == "nightly"]
    described["deployments"][0]["schedules"] = [{"cron": "* * * * *", "timezone": "UTC"}]
    path.write_text(yaml.safe_dump(described))
    return checkout


def schedules(checkout: Checkout) -> dict[str, str]:
    found = json.loads(checkout.run("status", "--json").stdout)["schedules"]
    return {entry["deployment"]: entry["state"] for entry in found}


def flow_runs(api: str) -> list[dict[str, Any]]:
    return httpx.post(f"{api}/flow_runs/filter", json={"sort": "START_TIME_DESC"}).raise_for_status().json()


def test_up_answers_on_every_address_and_leaves_nothing_behind(retrained: Checkout, occupied: int) -> None:
    with services.running(retrained, "up") as up:
        at = up.addresses
        assert set(at) == {"MLflow", "Prefect", "Prefect's API", "predictions"}
        assert not at["predictions"].endswith(f":{occupied}")
        assert f"port {occupied} is taken" in up.said
        assert httpx.get(f"{at['MLflow']}/health").text == "OK"
        assert "<title>Prefect" in httpx.get(at["Prefect"], follow_redirects=True).text
        assert httpx.get(f"{at['predictions']}/v2/health/ready").is_success
        assert "canvas" in httpx.get(at["predictions"]).text
        answer = httpx.post(f"{at['predictions']}/predict", content=bytes(784)).raise_for_status().json()
        assert answer["model"] == "digits-classifier"
        assert set(schedules(retrained).values()) == {"scheduled"}
        second = retrained.run("schedule", check=False)
        assert second.returncode == 1
        assert "run already" in second.stderr
        retrained.run("ingest")
        assert "COMPLETED" in {run["state_type"] for run in flow_runs(at["Prefect's API"])}
        assert up.stop() == []
    assert up.process.returncode == 0
    for address in at.values():
        with pytest.raises(httpx.ConnectError):
            httpx.get(address)
    assert all("no scheduler is running" in state for state in schedules(retrained).values())


def test_the_ui_of_mlflow_alone(checkout: Checkout) -> None:
    with services.running(checkout, "ui") as ui:
        assert httpx.get(f"{ui.addresses['MLflow']}/health").text == "OK"
        assert ui.stop() == []
    assert ui.process.returncode == 0


def test_kill_9_of_up_leaves_no_process(retrained: Checkout) -> None:
    with services.running(retrained, "up") as up:
        assert up.stop(signal.SIGKILL) == []


def test_checkouts_can_start_at_the_same_moment_and_each_has_one_scheduler(checkout: Checkout, tmp_path: Path) -> None:
    with closing(make_checkout(tmp_path / "other")) as other:
        both, elsewhere = [checkout.start("schedule"), checkout.start("schedule")], other.start("schedule")
        wait_until(lambda: any(process.poll() is not None for process in both))
        refused, runs = sorted(both, key=lambda process: process.poll() is None)
        assert refused.returncode == 1
        assert "run already" in refused.communicate()[0]
        first, second = services.ready(runs), services.ready(elsewhere)
        assert set(first.addresses.values()).isdisjoint(second.addresses.values())
        assert [*first.stop(), *second.stop()] == []


def test_what_is_due_runs_and_what_is_paused_stays_paused(scheduled: Checkout) -> None:
    with services.running(scheduled, "schedule") as first:
        api = first.addresses["Prefect's API"]
        run = wait_for_end(api, first)
        assert run["state_type"] == "COMPLETED"
        assert any((scheduled.folder / "var/dvc/remote").rglob("*"))
        assert schedules(scheduled) == {"ingest/nightly": "scheduled"}
        httpx.post(f"{api}/deployments/{run['deployment_id']}/pause_deployment").raise_for_status()
        assert schedules(scheduled) == {"ingest/nightly": "paused"}
        assert first.stop(signal.SIGTERM) == []
    with services.running(scheduled, "schedule") as second:
        assert schedules(scheduled) == {"ingest/nightly": "paused"}
        assert second.stop() == []


def wait_for_end(api: str, running: Running, seconds: float = 150) -> dict[str, Any]:
    """Return the first flow run that has ended."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        assert running.process.poll() is None
        for run in flow_runs(api):
            if run["state_type"] in {"COMPLETED", "FAILED", "CRASHED"}:
                return run
        time.sleep(0.5)
    raise AssertionError(flow_runs(api))


def test_ingest_pushes_the_data_once_to_the_remote_of_this_machine(checkout: Checkout) -> None:
    write_params(checkout, **{"fetch.dataset": "digits"})
    remote = checkout.folder / "var/elsewhere"
    checkout.tool("dvc", "remote", "modify", "--local", "local", "url", str(remote))
    first = checkout.run("ingest")
    pushed = sorted(path for path in remote.rglob("*") if path.is_file())
    assert "fetch done, prepare done" in first.stdout
    assert pushed
    again = checkout.run("ingest")
    assert "fetch unchanged, prepare unchanged" in again.stdout
    assert sorted(path for path in remote.rglob("*") if path.is_file()) == pushed


@pytest.mark.parametrize(
    ("found", "written", "said"),
    [
        ('"0 2 * * *"', '"0 25 * * *"', "deployments.0.schedules.0.cron"),
        ("timezone: UTC", "timezone: Mars", "'Mars' is no time zone"),
        ("entrypoint", "entrypiont", "deployments.0.entrypoint"),
        ("deployments:", "deployments: [", "prefect.yaml"),
    ],
)
def test_nonsense_in_prefect_yaml(checkout: Checkout, found: str, written: str, said: str) -> None:
    path: Path = checkout.folder / "prefect.yaml"
    path.write_text(path.read_text().replace(found, written, 1))
    done = checkout.run("schedule", check=False)
    assert done.returncode == 1
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error:")
    assert said in error
    assert "Traceback" not in done.stderr
