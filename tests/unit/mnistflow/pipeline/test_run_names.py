"""Names of runs whose parameters are in params.yaml."""

import pytest
from checkouts import ROOT

from mnistflow import config
from mnistflow.pipeline import run_names


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({}, "cnn"),
        ({"train.seed": 1}, "cnn seed=1"),
        ({"model.family": "mlp", "train.epochs": 2, "tune.trials": 0}, "mlp epochs=2 tune.trials=0"),
        ({"fetch.dataset": "digits", "fetch.attempts": 7, "gate.min_accuracy": 0.5}, "cnn fetch.dataset=digits"),
    ],
)
def test_a_run_is_named_by_what_differs_from_the_commit(changes: dict[str, object], name: str) -> None:
    base = config.load(ROOT / "params.yaml")
    assert run_names.title_against(base, base.with_values(changes)) == name


def test_a_preset_that_has_the_name_of_its_family_is_named_once() -> None:
    base = config.load(ROOT / "params.yaml")
    assert run_names.title(base, base.preset("gan")) == "gan"
    assert run_names.title(base, base.preset("fast")) == "cnn fast"
