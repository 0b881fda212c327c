"""`mnistflow up`: everything answers, its UIs show what a retraining did, and nothing is left behind."""

import json
import re
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
import services
import waiting
from browsing import PAGE_SECONDS
from checkouts import Checkout
from playwright.sync_api import Browser, Page, expect
from services import Running

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.xdist_group("retrained")]


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def up(retrained: Checkout, occupied: int) -> Iterator[Running]:
    """All services, and a second run to compare with the first."""
    with services.running(retrained, "up") as running:
        retrained.run("retrain", **{"train.epochs": "2", "tune.trials": "0"})
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(PAGE_SECONDS * 1000)
    yield context.new_page()
    context.close()


def test_up_answers_on_every_address(up: Running, retrained: Checkout, occupied: int) -> None:
    at = up.addresses
    assert set(at) == {"MLflow", "Prefect", "Prefect's API", "predictions"}
    assert not at["predictions"].endswith(f":{occupied}")
    assert f"port {occupied} is taken" in up.output
    assert waiting.get(f"{at['MLflow']}/health").text == "OK"
    assert "<title>Prefect" in waiting.get(at["Prefect"], follow_redirects=True).text
    assert waiting.get(f"{at['predictions']}/v2/health/ready").is_success
    assert "canvas" in waiting.get(at["predictions"]).text
    answer = waiting.post(f"{at['predictions']}/predict", content=bytes(784)).raise_for_status().json()
    assert answer["model"] == "digits-classifier"
    assert set(services.schedules(retrained).values()) == {"scheduled"}
    assert {run["state_type"] for run in services.flow_runs(at["Prefect's API"])} >= {"COMPLETED"}
    for command, message in (("schedule", "are already running"), ("up", "is already running")):
        second = retrained.run(command, check=False)
        assert second.returncode == 1
        assert message in second.stderr


def test_the_printed_address_opens_the_runs_in_mlflow_best_first(
    up: Running, retrained: Checkout, page: Page, screenshots: Path
) -> None:
    runs = [run["name"] for run in json.loads(retrained.run("leaderboard", "--json").stdout)]
    page.goto(up.pages["MLflow"])
    for name in runs:
        expect(page.get_by_role("link", name=name, exact=True).first).to_be_visible()
    shown = page.get_by_role("gridcell").get_by_role("link").all_inner_texts()
    assert [name for name in shown if name in runs] == runs
    for column in ("test_accuracy", "test_loss", "model.family", "train.epochs"):
        expect(page.get_by_role("columnheader", name=column).first).to_be_visible()
    expect(page.get_by_text("Sort: test_accuracy")).to_be_visible()
    page.screenshot(path=screenshots / "mlflow-runs.png")


def test_the_printed_comparison_opens_in_mlflow(up: Running, retrained: Checkout, page: Page) -> None:
    output = retrained.run("compare", "1", "2").stdout
    (address,) = re.findall(r"http://\S+compare-runs\S+", output)
    page.goto(address)
    expect(page.get_by_text("Comparing 2 Runs")).to_be_visible()


def test_all_runs_can_be_compared_in_mlflow(up: Running, retrained: Checkout, page: Page, screenshots: Path) -> None:
    runs = json.loads(retrained.run("leaderboard", "--json").stdout)
    page.goto(f"{up.addresses['MLflow']}/#/experiments/{experiment(up)}/runs")
    for run in runs:
        expect(page.get_by_role("link", name=run["name"], exact=True).first).to_be_visible()
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Compare").click()
    expect(page).to_have_url(re.compile("compare-runs"))
    expect(page.get_by_text(f"Comparing {len(runs)} Runs")).to_be_visible()
    for run in runs:
        expect(page.get_by_role("cell", name=run["name"], exact=True).first).to_be_visible()
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    for shown in ("Parallel Coordinates Plot", "train.epochs", "val_loss"):
        expect(page.get_by_text(shown, exact=True).first).to_be_visible()
    page.get_by_role("button", name="Close").click()  # MLflow's assistant, which covers a quarter of the view
    page.screenshot(path=screenshots / "mlflow-compare.png")
    expect(page.get_by_role("rowheader", name="model.family")).to_be_attached()


def experiment(up: Running) -> str:
    address = f"{up.addresses['MLflow']}/api/2.0/mlflow/experiments/get-by-name"
    found = waiting.get(address, params={"experiment_name": "digits"}).raise_for_status().json()
    return found["experiment"]["experiment_id"]


def test_a_retraining_is_told_in_prefect_and_linked(
    up: Running, retrained: Checkout, page: Page, screenshots: Path
) -> None:
    api = up.addresses["Prefect's API"]
    finished = {"sort": "START_TIME_DESC", "flows": {"name": {"any_": ["retrain"]}}}
    finished["flow_runs"] = {"state": {"type": {"any_": ["COMPLETED"]}}}
    latest = waiting.post(f"{api}/flow_runs/filter", json=finished).raise_for_status().json()[0]
    page.goto(f"{up.addresses['Prefect']}/runs/flow-run/{latest['id']}")
    expect(page.get_by_text(latest["name"]).first).to_be_visible()
    expect(page.get_by_text("Completed").first).to_be_visible()
    expect(page.get_by_text("evaluate: done").first).to_be_visible()
    page.wait_for_timeout(5_000)  # the timeline is drawn on a canvas, which tells nobody when it is done
    page.screenshot(path=screenshots / "prefect-run.png")
    artifacts = waiting.post(f"{api}/artifacts/filter", json={}).raise_for_status().json()
    (artifact,) = [entry["id"] for entry in artifacts if entry["flow_run_id"] == latest["id"]]
    page.goto(f"{up.addresses['Prefect']}/artifacts/artifact/{artifact}")
    for heading in ("What differs from the champion", "Metrics", "See also"):
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
    expect(page.get_by_role("cell", name="test_accuracy", exact=True)).to_be_visible()
    for name in (f"MLflow run {latest['name']}", re.compile(r"digits-classifier version \d+")):
        link = page.get_by_role("link", name=name).last
        expect(link).to_have_attribute("href", re.compile(re.escape(up.addresses["MLflow"])))
    page.screenshot(path=screenshots / "prefect-artifact.png")
    ((run, address),) = retrained.query(
        "select run_uuid, value from tags where key = 'prefect.flow_run_url' and value like ?", f"%{latest['id']}"
    )
    assert address.startswith(up.addresses["Prefect"])
    ((note,),) = retrained.query("select value from tags where key = 'mlflow.note.content' and run_uuid = ?", run)
    assert f"({address})" in note


def test_ctrl_c_ends_all_of_it_and_leaves_nothing_behind(up: Running, retrained: Checkout) -> None:
    assert up.stop() == []
    assert up.process.returncode == 0
    for address in up.addresses.values():
        with pytest.raises(httpx.ConnectError):
            waiting.get(address)
    assert all("no scheduler is running" in state for state in services.schedules(retrained).values())
