"""Plans of sweeps: the tags by which the leaderboard marks and finds their runs."""

import json
import shutil
from pathlib import Path

import pytest
from checkouts import ROOT

from flows.sweep.plan import make_plan
from mnistflow import config
from mnistflow.paths import Paths
from mnistflow.tracking import runs


@pytest.fixture
def checkout(tmp_path: Path) -> Paths:
    shutil.copy(ROOT / "params.yaml", tmp_path)
    return Paths(tmp_path, tmp_path)


def test_runs_have_the_tags_of_retrainings(checkout: Paths) -> None:
    overrides = {"fetch.dataset": "digits", "train.epochs": 1}
    tags = make_plan(checkout, ["mlp", "tree"], overrides, seeds=1, jobs=1).tags
    assert int(tags["mlp seed=0"][runs.FULL_EPOCHS]) > 1
    assert runs.FULL_EPOCHS not in tags["tree seed=0"]
    changed = {key: new for key, (_, new) in json.loads(tags["mlp seed=0"][runs.OVERRIDES]).items()}
    assert changed == {**overrides, "model.family": "mlp"}
    command = tags["mlp seed=0"][runs.COMMAND]
    assert command.startswith("mnistflow retrain ")
    assert {"fetch.dataset=digits", "train.epochs=1", "model.family=mlp", "train.seed=0"} <= set(command.split())


def test_runs_of_a_preset_name_it(checkout: Paths) -> None:
    preset = {**config.load(checkout.params).preset("fast"), "fetch.dataset": "digits"}
    del preset["model.family"]  # as the command line does
    tags = make_plan(checkout, ["cnn"], preset, seeds=1, jobs=1).tags["cnn seed=0"]
    assert tags[runs.PRESET] == "fast"
    assert runs.FULL_EPOCHS not in tags
