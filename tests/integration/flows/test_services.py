"""`mnistflow schedule`, `ui` and `up`: what is due runs, and nothing is left behind."""

import signal
import socket
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
import services
import serving_kit as kit
import stores
import waiting
import yaml
from checkouts import ROOT, Checkout, make_checkout, write_params
from cluster import free_port, wait_for_port
from services import Running
from waiting import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("retrained")]

REMOTE = "var/elsewhere"
ZONES = ("UTC", "Europe/Berlin")
PAGE = (ROOT / "docs/how-to/coming-from-prefect.md").read_text(encoding="utf-8")
DOCUMENTED = PAGE.split("```yaml\n")[1].split("```")[0]


@pytest.fixture
def scheduled(checkout: Checkout) -> Checkout:
    """A checkout with two schedules that ingest digits every minute, and push them to a remote of its own.

    A deployment that retrains is paused. The checkout has the automations of the documentation.
    """
    stores.copy_prefect(checkout.folder)
    write_params(checkout, **{"fetch.dataset": "digits"})
    checkout.tool("dvc", "remote", "modify", "--local", "local", "url", str(checkout.folder / REMOTE))
    path = checkout.folder / "prefect.yaml"
    described = yaml.safe_load(path.read_text())
    named = {entry["name"]: entry for entry in described["deployments"]}
    every_minute = {"schedules": [{"cron": "* * * * *", "timezone": zone} for zone in ZONES]}
    described["deployments"] = [
        named["nightly"] | every_minute,
        named["weekly"] | every_minute | {"paused": True, "parameters": {"preset": "fast"}},
    ]
    path.write_text(yaml.safe_dump(described))
    (checkout.folder / "automations.yaml").write_text(DOCUMENTED)
    return checkout


@pytest.mark.long
def test_the_ui_of_mlflow_alone(checkout: Checkout) -> None:
    with services.running(checkout, "ui") as ui:
        assert waiting.get(f"{ui.addresses['MLflow']}/health").text == "OK"
        assert ui.stop() == []
    assert ui.process.returncode == 0


def test_the_current_data_set_answers_pictures_however_new_the_champion_of_another(checkout: Checkout) -> None:
    """The variables of `mnistflow-serve` hold for `mnistflow serve` too."""
    models = checkout.folder / "var/models"
    write_params(checkout, **{"fetch.dataset": "digits"})
    images, labels = kit.digits()
    for dataset in ("digits", "fashion_mnist"):
        name = f"{dataset}-classifier"
        kit.publish(models, 1, kit.fit_network(images, labels), images, name=name, dataset=dataset)
        kit.set_champion(models, 1, name)
    port = free_port()
    settings = {"MNISTFLOW_SERVE_PORT": str(port), "MNISTFLOW_SERVE_KEYS": "secret"}
    with_key = replace(checkout, environment={**checkout.environment, **settings})
    server = with_key.start("serve")
    wait_for_port(port, server)
    url, headers = f"http://127.0.0.1:{port}", {"Authorization": "Bearer secret"}
    assert waiting.get(f"{url}/predict", headers=headers).json()["model"] == "digits-classifier"
    assert f"{url}, version 1" in with_key.run("status").stdout
    assert f"{url} requires a key: set MNISTFLOW_SERVE_KEYS" in checkout.run("status").stdout
    each_server_is_asked(with_key, url)
    assert checkout.run("status").stdout.count("no scheduler is running") == 1
    taken = with_key.run("serve", check=False)
    assert (taken.returncode, "mnistflow serves" in taken.stdout) == (1, False)
    assert f"{url}, version 1" in with_key.run("status").stdout
    server.terminate()
    assert "images go to digits-classifier" in server.communicate()[0]
    assert "none started from this checkout is running" in checkout.run("status").stdout
    with closing(socket.create_server(("127.0.0.1", port))):
        assert with_key.run("serve", check=False).returncode == 1
    assert "none started from this checkout is running" in checkout.run("status").stdout


def each_server_is_asked(checkout: Checkout, url: str) -> None:
    """A second server beside that of the URL, which ends again."""
    port = free_port()
    other = checkout.start("serve", "--port", str(port))
    wait_for_port(port, other)
    wait_until(lambda: waiting.get(f"http://127.0.0.1:{port}/v2/health/ready").is_success, other)
    both = checkout.run("status").stdout
    assert f"{url}, version 1" in both
    assert f"http://127.0.0.1:{port}, version 1" in both
    assert f"{url}, serves no version" in checkout.run("status", "--dataset", "mnist").stdout
    other.terminate()
    other.communicate()
    one = checkout.run("status").stdout
    assert f"{url}, version 1" in one
    assert str(port) not in one
    assert "no answer" not in one


@pytest.mark.long
def test_checkouts_can_start_at_the_same_moment_and_each_has_one_scheduler(checkout: Checkout, tmp_path: Path) -> None:
    """One of them is killed with -9, which leaves no process of it either."""
    with closing(make_checkout(tmp_path / "other")) as other:
        for folder in (checkout.folder, other.folder):
            stores.copy_prefect(folder)
        both, elsewhere = [checkout.start("schedule"), checkout.start("schedule")], other.start("schedule")
        wait_until(lambda: any(process.poll() is not None for process in both))
        refused, runs = sorted(both, key=lambda process: process.poll() is None)
        assert refused.returncode == 1
        assert "are already running" in refused.communicate()[0]
        first, second = services.ready(runs), services.ready(elsewhere)
        assert set(first.addresses.values()).isdisjoint(second.addresses.values())
        assert [*first.stop(), *second.stop(signal.SIGKILL)] == []


@pytest.mark.long
def test_what_is_due_runs_once_and_what_is_paused_stays_paused_where_it_is_moved(
    scheduled: Checkout, tmp_path: Path
) -> None:
    eager = replace(scheduled, environment={**scheduled.environment, **waiting.QUICK_TURNS})
    with services.running(eager, "schedule") as first:
        api = first.addresses["Prefect's API"]
        assert "1 of 2 automations are registered" in first.output
        assert "the Prefect server has no block document pager-duty-webhook/on-call" in first.output
        (known,) = waiting.post(f"{api}/automations/filter").json()
        deployment = waiting.get(f"{api}/deployments/name/ingest/nightly").json()["id"]
        assert (known["name"], known["actions"][0]["deployment_id"]) == ("fetch data after a rejection", deployment)
        assert waiting.get(f"{api}/deployments/name/retrain/weekly").json()["parameters"] == {"preset": "fast"}
        ended = wait_for_a_skipped_run(api, first)
        assert {run["state_name"] for run in ended} == {"Completed", "Skipped"}
        due = [run["expected_start_time"] for run in ended if run["state_name"] == "Completed"]
        assert len(due) == len(set(due))
        pushed = files(scheduled.folder / REMOTE)
        assert pushed
        assert services.schedules(scheduled) == {"ingest/nightly": "scheduled", "retrain/weekly": "paused"}
        waiting.post(f"{api}/deployments/{ended[0]['deployment_id']}/pause_deployment").raise_for_status()
        assert set(services.schedules(scheduled).values()) == {"paused"}
        assert "fetch unchanged, prepare unchanged" in scheduled.run("ingest").stdout
        assert files(scheduled.folder / REMOTE) == pushed
        assert first.stop(signal.SIGTERM) == []
    moved = replace(scheduled, folder=scheduled.folder.rename(tmp_path / "moved"))
    assert str(scheduled.folder) in services.schedules(moved)["ingest/nightly"]
    with services.running(moved, "schedule") as second:
        assert f"the schedules ran in {scheduled.folder}: they run in {moved.folder} from now on" in second.output
        assert set(services.schedules(moved).values()) == {"paused"}
        assert second.stop() == []


@pytest.mark.long
def test_one_checkout_at_a_time_runs_the_schedules_of_a_prefect_server(
    checkout: Checkout, tmp_path: Path, prefect_api: str
) -> None:
    with closing(make_checkout(tmp_path / "other")) as other:
        first, second = (replace(one, environment=with_api(one, prefect_api)) for one in (checkout, other))
        for folder in (first.folder, second.folder):
            keep_one_deployment(folder, "handed over")
        with services.running(first, "schedule") as former, services.running(second, "schedule") as latter:
            assert f"they run in {first.folder}; this checkout takes over when" in latter.output
            assert former.stop() == []
            services.delete_deployments(prefect_api, ["ingest/handed over"])
            assert latter.process.stdout
            assert any("schedules works" in line for line in latter.process.stdout)
            known = waiting.get(f"{prefect_api}/deployments/name/ingest/handed over").json()
            httpx.patch(f"{prefect_api}/deployments/{known['id']}", json={"path": "/a/third"}).raise_for_status()
            assert "schedules ended unexpectedly" in latter.process.communicate()[0]
        assert "the schedules run in /a/third now" in (second.folder / "var/logs/schedules.log").read_text()
    services.delete_deployments(prefect_api, ["ingest/handed over"])


def with_api(checkout: Checkout, api: str) -> dict[str, str]:
    return {**checkout.environment, "PREFECT_API_URL": api, "PREFECT_RUNNER_POLL_FREQUENCY": "2"}


def keep_one_deployment(folder: Path, name: str) -> None:
    path = folder / "prefect.yaml"
    described = yaml.safe_load(path.read_text())
    (nightly,) = [entry for entry in described["deployments"] if entry["name"] == "nightly"]
    described["deployments"] = [{**nightly, "name": name, "schedules": [{"cron": "0 0 1 1 *"}]}]
    path.write_text(yaml.safe_dump(described))


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def wait_for_a_skipped_run(api: str, running: Running) -> list[dict[str, Any]]:
    """Return all flow runs that have ended when one of them was skipped."""

    def ended() -> list[dict[str, Any]]:
        final = {"COMPLETED", "FAILED", "CRASHED", "CANCELLED"}
        return [run for run in services.flow_runs(api) if run["state_type"] in final]

    wait_until(lambda: any(run["state_name"] == "Skipped" for run in ended()), running.process)
    return ended()


def test_nonsense_in_prefect_yaml_and_automations_yaml(checkout: Checkout) -> None:
    path: Path = checkout.folder / "prefect.yaml"
    sound = path.read_text()
    for found, written, message in (
        ('"0 2 * * *"', '"0 25 * * *"', "deployments.0.schedules.0.cron"),
        ("timezone: UTC", "timezone: Mars", "'Mars' is not a time zone"),
        ("entrypoint", "entrypiont", "deployments.0.entrypoint"),
        ("schedules", "schedule", "deployments.0.schedule: "),
        ('cron: "0 2 * * *"', "interval: 60", "only schedules with `cron` are supported"),
        ("deployments:", "deployments: [", "prefect.yaml"),
    ):
        assert found in sound
        path.write_text(sound.replace(found, written, 1))
        assert message in refused(checkout)
    path.write_text(sound.replace("    tags:", "    parameters: {presets: fast}\n    tags:", 1))
    assert "schedules ended unexpectedly" in refused(checkout)
    log = (checkout.folder / "var/logs/schedules.log").read_text()
    assert "prefect.yaml: deployment ingest/nightly: the flow has no parameter presets" in log
    path.write_text(sound)
    (checkout.folder / "automations.yaml").write_text(DOCUMENTED.replace("trigger:", "triger:"))
    assert "automations.yaml: automations.0.trigger: Field required" in refused(checkout)


def refused(checkout: Checkout) -> str:
    """Return the line with which `schedule` ends at its start."""
    done = checkout.run("schedule", check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    error = done.stderr.splitlines()[-1]
    assert error.startswith("error:")
    return error
