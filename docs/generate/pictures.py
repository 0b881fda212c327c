"""Screenshots in docs/images, taken from a running `mnistflow up`: MLflow, Prefect and the drawing page.

Two short retrainings of MNIST in a copy of the checkout, so that a checkout in use is neither needed nor disturbed.

    make pictures
"""

import json
import os
import re
import sys
import tempfile
from pathlib import Path

import browsing
import checkouts
import httpx
import services
from playwright.sync_api import Browser, Page, expect

IMAGES = Path(__file__).resolve().parents[1] / "images"
MIRRORS = os.environ.get("MNISTFLOW_MIRRORS") or str(checkouts.ROOT / "var/downloads")
RETRAIN = ("retrain", "--preset", "fast")
FIRST = ("-S", "train.epochs=1")
SECOND = ("-S", "train.learning_rate=0.005", "-S", "model.cnn.dropout=0.1")
WITHOUT_ASSISTANT = 1038  # pixels of a page 1,400 wide, whose right quarter is MLflow's assistant
SEVEN = [[(0.25, 0.24), (0.72, 0.23), (0.43, 0.82)]]  # shares of the drawing area's side


def main() -> None:
    """Retrain twice beside the running services, and write the pictures."""
    program = browsing.chromium()
    if program is None:
        sys.exit("error: no chromium on the PATH. Install it: apt-get install chromium")
    expect.set_options(timeout=60_000)
    with tempfile.TemporaryDirectory() as folder:
        checkout = checkouts.make_checkout(Path(folder) / "mnistflow", MNISTFLOW_MIRRORS=MIRRORS)
        checkouts.write_params(checkout, **{"fetch.fallback": "null"})
        checkout.run(*RETRAIN, *FIRST)
        with services.running(checkout, "up") as up, browsing.running(program) as browser:
            checkout.run(*RETRAIN, *SECOND)
            runs = len(json.loads(checkout.run("leaderboard", "--json").stdout))
            mlflow_runs(_page(browser, 1400, 700), up.pages["MLflow"])
            mlflow_version(_page(browser, 1400, 1200), up.addresses["MLflow"])
            mlflow(_page(browser, 1400, 1000), up.addresses["MLflow"], runs)
            prefect(_page(browser, 1400, 1000), up.addresses["Prefect"], up.addresses["Prefect's API"])
            prefect_artifact(_page(browser, 1400, 1400), up.addresses["Prefect"], up.addresses["Prefect's API"])
            prefect_form(_page(browser, 1300, 1350), up.addresses["Prefect"], up.addresses["Prefect's API"])
            drawing(_page(browser, 1280, 720), up.addresses["predictions"])


def mlflow_runs(page: Page, address: str) -> None:
    """Take the table of runs, as the printed address opens it."""
    page.goto(address)
    expect(page.get_by_text("Sort: test_accuracy")).to_be_visible()
    expect(page.get_by_role("columnheader", name="test_accuracy").first).to_be_visible()
    _save(page, "mlflow-runs.png", WITHOUT_ASSISTANT)


def mlflow_version(page: Page, address: str) -> None:
    """Take the first registered version, with its description and tags."""
    page.goto(f"{address}/#/models/mnist-classifier/versions/1")
    expect(page.get_by_text("champion").first).to_be_visible()
    expect(page.get_by_text("Registered At").or_(page.get_by_text("Created At")).first).to_be_visible()
    _save(page, "mlflow-version.png", WITHOUT_ASSISTANT)


def mlflow(page: Page, address: str, runs: int) -> None:
    """Take the comparison of all runs."""
    parameters = {"experiment_name": "mnist"}
    found = httpx.get(f"{address}/api/2.0/mlflow/experiments/get-by-name", params=parameters).raise_for_status().json()
    page.goto(f"{address}/#/experiments/{found['experiment']['experiment_id']}/runs")
    page.get_by_role("checkbox").first.check()
    page.get_by_role("button", name="Compare").click()
    expect(page).to_have_url(re.compile("compare-runs"))
    expect(page.get_by_text(f"Comparing {runs} Runs")).to_be_visible()
    expect(page.locator(".js-plotly-plot").first).to_be_visible()
    page.get_by_role("button", name="Close").click()  # MLflow's assistant, which covers a quarter of the view
    _save(page, "mlflow-compare.png")


def prefect(page: Page, address: str, api: str) -> None:
    """Take the latest retraining: its timeline and its log."""
    latest = next(run for run in services.flow_runs(api) if run["state_type"] == "COMPLETED")
    page.goto(f"{address}/runs/flow-run/{latest['id']}")
    expect(page.get_by_text("Completed").first).to_be_visible()
    expect(page.get_by_text("evaluate: done").first).to_be_visible()
    page.wait_for_timeout(5_000)  # the timeline is drawn on a canvas, without an event at its end
    _save(page, "prefect-run.png")


def prefect_artifact(page: Page, address: str, api: str) -> None:
    """Take the report of the latest retraining."""
    latest = next(run for run in services.flow_runs(api) if run["state_type"] == "COMPLETED")
    artifacts = httpx.post(f"{api}/artifacts/filter", json={}).raise_for_status().json()
    artifact = next(entry["id"] for entry in artifacts if entry["flow_run_id"] == latest["id"])
    page.goto(f"{address}/artifacts/artifact/{artifact}")
    expect(page.get_by_role("heading", name="See also")).to_be_visible()
    _save(page, "prefect-artifact.png")


def prefect_form(page: Page, address: str, api: str) -> None:
    """Take the form for a run of the deployment that retrains."""
    known = httpx.get(f"{api}/deployments/name/retrain/weekly").raise_for_status().json()
    page.goto(f"{address}/deployments/deployment/{known['id']}/run")
    expect(page.get_by_text("A named set of overrides").first).to_be_visible()
    _save(page, "prefect-form.png")


def drawing(page: Page, address: str) -> None:
    """Take the drawing page with a seven."""
    page.goto(address)
    browsing.draw(page, SEVEN)
    browsing.verdict(page)
    _save(page, "page.png")


def _page(browser: Browser, width: int, height: int) -> Page:
    context = browser.new_context(viewport={"width": width, "height": height})
    context.set_default_timeout(60_000)
    return context.new_page()


def _save(page: Page, name: str, width: int | None = None) -> None:
    """Take what is seen of a page, or its left part of so many pixels."""
    size = page.viewport_size or {"width": 0, "height": 0}
    page.screenshot(path=IMAGES / name, clip={"x": 0, "y": 0, **size, "width": width or size["width"]})
    sys.stdout.write(f"docs/images/{name}\n")


if __name__ == "__main__":
    main()
