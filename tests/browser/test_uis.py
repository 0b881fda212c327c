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
    running = services.start(retrained, "up")
    retrained.run("retrain", **{"train.epochs": "2", "tune.trials": "0"})
    yield running
    running.stop()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context(viewport={"width": 1400, "height": 1000})
    context.set_default_timeout(60_000)
    yield context.new_page()
    context.close()


def test_all_runs_can_be_compared_in_mlflow(up: Running, retrained: Checkout, page: Page, screenshots: Path) -> None:
    runs = json.loads(retrained.run("leaderboard", "--json").stdout)
    page.goto(f"{up.addresses['MLflow']}/#/experiments/1/runs")
    for run in runs:
        expect(page.get_by_role("link", name=run["name"], exact=True).first).to_be_visible()
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Compare").click()
    expect(page).to_have_url(re.compile("compare-runs"))
    expect(page.get_by_text("Parallel Coordinates Plot")).to_be_visible()
    for run in runs:
        expect(page.get_by_text(run["name"], exact=True).first).to_be_visible()
    for parameter in ("model.family", "train.epochs"):
        expect(page.get_by_text(parameter, exact=True).first).to_be_attached()
    expect(page.get_by_text("test_accuracy", exact=True).first).to_be_attached()
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    page.screenshot(path=screenshots / "mlflow-compare.png")


def test_a_retraining_is_told_in_prefect(up: Running, page: Page, screenshots: Path) -> None:
    api = up.addresses["Prefect's API"]
    wanted = {"sort": "START_TIME_DESC", "flows": {"name": {"any_": ["retrain"]}}}
    latest = httpx.post(f"{api}/flow_runs/filter", json=wanted).raise_for_status().json()[0]
    page.goto(f"{up.addresses['Prefect']}/runs/flow-run/{latest['id']}")
    expect(page.get_by_text(latest["name"]).first).to_be_visible()
    expect(page.get_by_text("Completed").first).to_be_visible()
    expect(page.get_by_text("evaluate: done").first).to_be_visible()
    page.screenshot(path=screenshots / "prefect-run.png")
    page.get_by_role("tab", name="Task Runs").click()
    for task in ("train", "evaluate", "register", "publish"):
        expect(page.get_by_text(task, exact=True).first).to_be_visible()
    page.get_by_role("tab", name="Artifacts").click()
    expect(page.get_by_text("retrain", exact=True).first).to_be_visible()
    artifacts = httpx.post(f"{api}/artifacts/latest/filter", json={}).raise_for_status().json()
    told = next(artifact["data"] for artifact in artifacts if artifact["flow_run_id"] == latest["id"])
    assert "What differs from the champion" in told
    assert "| test_accuracy |" in told
    assert "version" in told
