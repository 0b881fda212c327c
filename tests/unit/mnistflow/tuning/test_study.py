"""Studies: the values that a search samples are those that the parameters accept."""

import warnings
from pathlib import Path
from typing import Any

import pytest
from checkouts import ROOT

from mnistflow import config
from mnistflow.tuning import study

TRIALS = 12


def sampled(folder: Path, values: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parameters of the trials of a search, which all are accepted."""
    settings = config.load(ROOT / "params.yaml").with_values({"tune.space": {"cnn": values}})
    learning, space = settings.learning, settings.tune.space["cnn"]
    opened = study.open_study("test", str(folder / "study.journal"), settings.tune)
    study.enqueue_defaults(opened, learning, space)
    found = []
    for _ in range(TRIALS):
        trial = opened.ask(study.distributions(learning, space))
        found.append(study.parameters(trial))
        learning.with_values({**found[-1], **settings.tune.overrides})
        opened.tell(trial, 1.0)
    return found


@pytest.mark.parametrize("log", [False, True])
def test_a_range_of_an_integer_parameter_samples_integers(tmp_path, log) -> None:
    found = sampled(tmp_path, {"train.batch_size": {"low": 16, "high": 64, "log": log}})
    sizes = {parameters["train.batch_size"] for parameters in found}
    assert len(sizes) > 1
    assert sizes <= set(range(16, 65))


def test_a_range_of_a_float_parameter_samples_floats_although_its_ends_are_whole(tmp_path) -> None:
    found = sampled(tmp_path, {"train.learning_rate": {"low": 1, "high": 3}})
    assert any(not parameters["train.learning_rate"].is_integer() for parameters in found)


def test_the_first_trial_has_the_values_of_params_yaml(tmp_path) -> None:
    first, *_ = sampled(tmp_path, {"model.cnn.kernel": {"low": 2, "high": 5}, "train.ema": {"choices": [0.0, 0.9]}})
    assert first == {"model.cnn.kernel": 3, "train.ema": 0.0}


def test_choices_may_be_lists_and_mappings(tmp_path) -> None:
    blocks, augmentation = [[[8]], [[8], [16]]], [{}, {"shift": 0.1}]
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Optuna's about types that its storage does not keep
        values = {"model.cnn.blocks": {"choices": blocks}, "train.augment": {"choices": augmentation}}
        found = sampled(tmp_path, values)
    assert all(parameters["model.cnn.blocks"] in blocks for parameters in found)
    assert {str(parameters["train.augment"]) for parameters in found} == {str(choice) for choice in augmentation}
