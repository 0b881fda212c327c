"""What a user sees of a retraining in the UIs of MLflow and Prefect."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
import services
from checkouts import Checkout
from playwright.sync_api import Browser, Page, expect
from services import Running

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("retrained")]


@pytest.fixture(scope="module")
def up(retrained: Checkout) -> Iterator[Running]:
    """All services, and a second run to compare with the first."""
    with services.running(retrained, "up") as running:
        retrained.run("retrain", **{"train.epochs": "2", "tune.trials": "0"})
        yield running


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


def test_all_runs_can_be_compared_in_mlflow(up: Running, retrained: Checkout, page: Page, screenshots: Path) -> None:
    runs = json.loads(retrained.run("leaderboard", "--json").stdout)
    page.goto(up.addresses["MLflow"])
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
    found = httpx.get(address, params={"experiment_name": "digits"}).raise_for_status().json()
    return found["experiment"]["experiment_id"]


def test_a_retraining_is_told_in_prefect(up: Running, page: Page, screenshots: Path) -> None:
    api = up.addresses["Prefect's API"]
    finished = {"sort": "START_TIME_DESC", "flows": {"name": {"any_": ["retrain"]}}}
    finished["flow_runs"] = {"state": {"type": {"any_": ["COMPLETED"]}}}
    latest = httpx.post(f"{api}/flow_runs/filter", json=finished).raise_for_status().json()[0]
    page.goto(f"{up.addresses['Prefect']}/runs/flow-run/{latest['id']}")
    expect(page.get_by_text(latest["name"]).first).to_be_visible()
    expect(page.get_by_text("Completed").first).to_be_visible()
    expect(page.get_by_text("evaluate: done").first).to_be_visible()
    page.screenshot(path=screenshots / "prefect-run.png")
    artifacts = httpx.post(f"{api}/artifacts/filter", json={}).raise_for_status().json()
    (artifact,) = [entry["id"] for entry in artifacts if entry["flow_run_id"] == latest["id"]]
    page.goto(f"{up.addresses['Prefect']}/artifacts/artifact/{artifact}")
    for heading in ("What differs from the champion", "Metrics", "Where to look further"):
        expect(page.get_by_role("heading", name=heading)).to_be_visible()
    expect(page.get_by_role("cell", name="test_accuracy", exact=True)).to_be_visible()
    page.screenshot(path=screenshots / "prefect-artifact.png")
