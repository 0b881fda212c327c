"""Online learning: a network takes the feedback one example at a time, in the order of time, one step each.

That is what a plain online learner does (Bottou, "Online Learning and Stochastic Approximations", 1998): stochastic
gradient descent with a constant learning rate, each example once, no augmentation, no replay. It starts from a
registered version (`train.warm_start`) or from a training on the official examples. BatchNormalization layers are
frozen, because one example has no batch statistics.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistflow.errors import StageError
from mnistflow.learners import registered_models
from mnistflow.learners.config import AugmentConfig, TrainConfig
from mnistflow.learners.learner import MONITORED, OnEpoch, Training
from mnistflow.learners.warm_start import PARAMETER as WARM_START
from mnistflow.learners.warm_start import load_weights
from mnistflow.splits import Dataset

if TYPE_CHECKING:
    import keras

    from mnistflow.learners.fitting.supervised import BeginFitting

PARAMETER = "train.online"
LEARNING_RATE_FACTOR = 0.1  # `train.learning_rate` is meant for means over a batch


def fit(
    data: Dataset,
    config: TrainConfig,
    *,
    begin: BeginFitting,
    on_epoch: OnEpoch,
    checkpoint_folder: Path | None,
) -> Training:
    """Train on the official examples, or load a registered version; then train on the feedback in order.

    Args:
        data: a prepared data set.
        config: section `train` of params.yaml.
        begin: builds a network and returns its training.
        on_epoch: called with the number of the epoch, from 1, and its metrics; the feedback is the last epoch.
        checkpoint_folder: has a checkpoint of each of the two; None for a temporary one.

    Raises:
        RegistryError: the version is missing, or has another signature than the data.
        StageError: there is no feedback, or the version's network has another architecture.
    """
    if not data.feedback:
        raise StageError(f"{PARAMETER}: there is no feedback to learn from", "Report labels, or set it to false.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = checkpoint_folder or Path(temporary)
        learn_feedback = partial(_learn_feedback, data, config, begin, folder / "feedback")
        if config.warm_start is not None:
            version = registered_models.find(config.warm_start, data.name, WARM_START)
            weights_file = registered_models.keras_file(version, data, WARM_START, Path(temporary))
            return learn_feedback(weights_file, on_epoch)
        pretrained = _learn_official(data, config, begin, folder / "official", on_epoch)
        epochs = len(pretrained.history[MONITORED])
        updated = learn_feedback(pretrained.model.get_weights(), lambda _, metrics: on_epoch(epochs + 1, metrics))
        return _joined(pretrained, updated)


def _learn_official(
    data: Dataset, config: TrainConfig, begin: BeginFitting, checkpoint_folder: Path, on_epoch: OnEpoch
) -> Training:
    return begin(
        config.model_copy(update={"online": False}),
        train=data.official_train,
        validation=data.validation,
        checkpoint_folder=checkpoint_folder,
    ).finish(on_epoch)


def _learn_feedback(
    data: Dataset,
    config: TrainConfig,
    begin: BeginFitting,
    checkpoint_folder: Path,
    weights: Path | list[Any],
    on_epoch: OnEpoch,
) -> Training:
    """Train a network with these weights on the feedback: one epoch, a step for each example."""
    return begin(
        _of_single_examples(config),
        train=data.feedback_train,
        validation=data.validation,
        start=_start(weights),
        checkpoint_folder=checkpoint_folder,
    ).finish(on_epoch)


def _joined(first: Training, second: Training) -> Training:
    """Return two trainings, the second of which continues the first for one epoch, as one."""
    history = {name: [*first.history[name], *values] for name, values in second.history.items()}
    return Training(
        model=second.model,
        history=history,
        best_epoch=len(history[MONITORED]),
        parameters=second.parameters,
        seconds=first.seconds + second.seconds,
    )


def _of_single_examples(config: TrainConfig) -> TrainConfig:
    return config.model_copy(
        update={
            "epochs": 1,
            "batch_size": 1,
            "min_steps": 0,
            "optimizer": "sgd",
            "schedule": "constant",
            "learning_rate": LEARNING_RATE_FACTOR * config.learning_rate,
            "ema": 0.0,
            "augment": AugmentConfig(),
            "statistics": 0,
        }
    )


def _start(weights: Path | list[Any]) -> Callable[[keras.Model], None]:
    """Return a function that gives a network the weights to start from, and freezes its normalization layers."""

    def start(model: keras.Model) -> None:
        import keras

        if isinstance(weights, Path):
            load_weights(model, weights)
        else:
            model.set_weights(weights)
        for layer in model.layers:
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)

    return start
