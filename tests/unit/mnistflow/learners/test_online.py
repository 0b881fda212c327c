"""Online learning: feedback is taken one example at a time, in its order; what it begins with, and what is refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from checkouts import ROOT

from mnistflow import config, learners
from mnistflow.config import Config
from mnistflow.errors import ConfigError, StageError
from mnistflow.learners.learner import Training
from mnistflow.learners.online import LEARNING_RATE_FACTOR
from mnistflow.splits import Dataset, Split

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chosen(settings: Config) -> Config:
    """A softmax regression, so that each step is a line of NumPy."""
    values = {"model.family": "linear", "model.linear.auto_levels": False, "train.epochs": 4, "train.augment": {}}
    return settings.with_values({**values, "prepare.feedback": "var/inferences.db", "train.online": True})


@pytest.fixture(scope="module")
def reported(digits: Dataset) -> Dataset:
    """The data set with 150 turned images as feedback, the last of its training images."""
    turned = np.ascontiguousarray(np.rot90(digits.train.inputs[:150], axes=(1, 2)))
    train = Split(
        np.concatenate([digits.train.inputs, turned]),
        np.concatenate([digits.train.targets, digits.train.targets[:150]]),
    )
    return replace(digits, train=train, feedback=150)


def fit(
    settings: Config,
    data: Dataset,
    on_epoch: Callable[..., None] = lambda *_: None,
    folder: Path | None = None,
) -> Training:
    family = settings.model.chosen
    return learners.for_family(family).fit(data, family, settings.train, on_epoch, folder)


def softmax(values: np.ndarray) -> np.ndarray:
    powers = np.exp(values - values.max())
    return np.asarray(powers / powers.sum())


def test_each_example_of_the_feedback_is_one_step_in_the_order_of_time(chosen: Config, reported: Dataset) -> None:
    official = replace(reported, train=reported.train.take(np.arange(len(reported.train) - 150)), feedback=0)
    plain = fit(chosen.with_values({"train.online": False}), official)
    epochs: list[int] = []
    taken = fit(chosen, reported, lambda epoch, _: epochs.append(epoch))
    weights, bias = (array.astype(np.float64) for array in plain.model.get_weights())
    rate = LEARNING_RATE_FACTOR * chosen.train.learning_rate
    for image, label in zip(reported.train.inputs[-150:] / 255, reported.train.targets[-150:], strict=True):
        error = softmax(image.ravel() @ weights + bias) - np.eye(10)[label]
        weights -= rate * np.outer(image.ravel(), error)
        bias -= rate * error
    for ours, expected in zip(taken.model.get_weights(), (weights, bias), strict=True):
        assert ours == pytest.approx(expected, abs=1e-5)
    assert epochs == [1, 2, 3, 4, 5]
    assert (taken.best_epoch, len(taken.history["val_loss"])) == (5, 5)


@pytest.mark.long
def test_a_killed_training_goes_on_to_the_same_weights_and_normalization_stays(
    chosen: Config, reported: Dataset, tmp_path: Path
) -> None:
    network = chosen.with_values(
        {"model.family": "cnn", "model.cnn.blocks": [[4]], "train.epochs": 1, "train.steps_per_execution": "epoch"}
    )
    whole = fit(network, reported)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(network, reported, die, tmp_path)
    resumed = fit(network, reported, folder=tmp_path)
    for ours, theirs in zip(resumed.model.get_weights(), whole.model.get_weights(), strict=True):
        assert np.array_equal(ours, theirs)
    official = replace(reported, train=reported.train.take(np.arange(len(reported.train) - 150)), feedback=0)
    begun = fit(network.with_values({"train.online": False}), official)
    is_same = {
        type(one).__name__: all(map(np.array_equal, one.get_weights(), other.get_weights()))
        for one, other in zip(whole.model.layers, begun.model.layers, strict=True)
        if one.get_weights()
    }
    assert is_same == {"Conv2D": False, "BatchNormalization": True, "Dense": False}


def test_what_cannot_learn_online_is_refused_in_one_line(chosen: Config, digits: Dataset) -> None:
    with pytest.raises(
        ConfigError, match=r"train\.online: family svm cannot take one example at a time; neural networks"
    ):
        chosen.with_values({"model.family": "svm"})
    with pytest.raises(ConfigError, match=r"train\.online: needs prepare\.feedback"):
        config.load(ROOT / "params.yaml").with_values({"train.online": True})
    with pytest.raises(StageError, match="there is no feedback to learn from"):
        fit(chosen, digits)
