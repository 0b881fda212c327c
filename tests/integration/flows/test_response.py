"""Responses to alarms on a real registry and MLflow store: which retrainings end an alarm."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import serving_kit as kit
import stores
import tracking_server
from checkouts import ROOT
from configured import configured

from flows import response
from mnistflow import config
from mnistflow.monitoring import state
from mnistflow.monitoring.state import Alarm, Attempt, State
from mnistflow.paths import Paths
from mnistflow.pipeline import run_plan
from mnistflow.pipeline.run_plan import RunOptions
from mnistflow.registry import promotion
from mnistflow.tracking import runs

pytestmark = pytest.mark.slow

DATASET, NAME = "digits", "digits-classifier"
SETTINGS = config.load(ROOT / "params.yaml").with_values({"fetch.dataset": DATASET})


def test_only_a_retraining_that_registers_its_model_ends_an_alarm(tmp_path: Path) -> None:
    stores.copy_mlflow(tmp_path)
    images, labels = kit.digits()
    paths = Paths(tmp_path, tmp_path)
    with configured(paths):
        tracking_server.register(paths, DATASET, kit.linear_classifier(images[:600], labels[:600]), images)
        promotion.promote(paths, NAME, 1)
        an_hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
        alarm = Alarm(time=an_hour_ago, version=1, check="inputs", reason="contrast")
        pause = Attempt(time=an_hour_ago, flow_run="", outcome="done")
        state.write(paths, NAME, State(version=1, alarms=(alarm,), attempts=(pause,)))
        assert next_kind(paths) == "wait"
        retrain(paths, RunOptions(register=False))
        assert next_kind(paths) == "wait"
        retrain(paths, RunOptions())
        assert next_kind(paths) == "nothing"


def retrain(paths: Paths, options: RunOptions) -> None:
    """Record a retraining that has succeeded."""
    plan = run_plan.resolve(paths, SETTINGS, {}, options)
    runs.start(paths, plan.experiment, plan.name, "retrain", tags=plan.tags).finish()


def next_kind(paths: Paths) -> str:
    return response.respond(paths, DATASET, SETTINGS, datetime.now(UTC)).kind
