"""Warm start: continues the training of a registered network on its hardest examples, with replay.

Half of the examples are drawn with probability proportional to the version's loss, which finds new kinds of images; the
other half is drawn uniformly from the rest, against catastrophic forgetting (arXiv:1902.10486). Which part of the
network should be trained depends on what changed: the first block for new inputs, the head for new labels (surgical
fine-tuning, arXiv:2210.11466). Each part is therefore trained for one epoch, and the one with the lowest validation
loss is trained on. A fifth of the first half is held out and joins images of the validation split, which may contain
none of the new kind.
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np

from mnistflow.errors import ConfigError, StageError
from mnistflow.learners import registered_models
from mnistflow.learners.config import LearningConfig, TrainConfig
from mnistflow.learners.learner import MONITORED, OnEpoch, Training
from mnistflow.splits import Dataset, Split
from mnistflow.tracking import runs

if TYPE_CHECKING:
    import keras

    from mnistflow.arrays import Array, Outputs
    from mnistflow.learners.fitting.loop import Fitting
    from mnistflow.learners.fitting.supervised import BeginFitting

logger = logging.getLogger(__name__)

Part = Literal["first block", "head", "all"]
PARTS: tuple[Part, ...] = get_args(Part)
PARAMETER = "train.warm_start"
SAMPLE_SHARE = 0.07  # of the training examples
MIN_SAMPLE = 1000  # examples, if there are so many
HELD_OUT_SHARE = 0.2  # of the examples drawn by their loss
LEARNING_RATE_FACTOR = 0.5
MIN_STEPS_FACTOR = 1 / 4
MIN_PROBABILITY = 1e-7  # losses stay finite
MIN_KERNEL_RANK = 2  # layers with weights of lower rank (normalization) belong to the layer before them


def pin(config: LearningConfig, dataset: str) -> dict[str, Any]:
    """Return overrides, by dotted key, that fix the version to start from, and give the network its architecture.

    There is no search: its trials would be other architectures.

    Raises:
        ConfigError: the version is of another family.
        RegistryError: there is no such version.
    """
    reference, family = config.train.warm_start, config.model.family
    if reference is None:
        return {}
    version = registered_models.find(reference, dataset, PARAMETER)
    recorded = {name: runs.parameter_value(text) for name, text in runs.read(version.run_id).parameters.items()}
    theirs = recorded.get("model.family")
    if theirs != family:
        raise ConfigError(
            f"{PARAMETER}: {version.name} version {version.number} is of family {theirs}, not {family}",
            f"Set model.family to {theirs} if that is a neural network, or name another version.",
        )
    known = type(config.model.chosen).model_fields
    architecture = {
        f"model.{family}.{name}": recorded[f"model.{name}"] for name in known if f"model.{name}" in recorded
    }
    return {PARAMETER: version.run_id, "tune.trials": 0, **architecture}


def fit(
    data: Dataset,
    config: TrainConfig,
    reference: int | str,
    *,
    build: Callable[[], keras.Model],
    predict: Callable[[keras.Model, Array], Outputs],
    begin: BeginFitting,
    on_epoch: OnEpoch,
    checkpoint_folder: Path | None,
) -> Training:
    """Train the part of a registered network that leads to the lowest validation loss.

    Args:
        data: a prepared data set with classes.
        config: section `train` of params.yaml.
        reference: the version to start from, `config.warm_start`.
        build: returns a new network.
        predict: returns the outputs of a network.
        begin: builds a network and returns its training.
        on_epoch: called with the number of the epoch, from 1, and its metrics.
        checkpoint_folder: has a checkpoint of each part; None for a temporary one.

    Raises:
        ConfigError: the data set has no classes.
        RegistryError: the version is missing, or has another signature than the data.
        StageError: its network has another architecture.
    """
    if not data.classes:
        raise ConfigError(f"{PARAMETER}: {data.name} has no classes", "Set it to null.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = checkpoint_folder or Path(temporary)
        version = registered_models.find(reference, data.name, PARAMETER)
        weights = registered_models.keras_file(version, data, PARAMETER, Path(temporary))
        model = build()
        load_weights(model, weights)
        train, validation = draw_examples(data, predict(model, data.train.inputs), config.seed)
        trainings = {
            part: begin(
                _of_smaller_steps(config),
                train=train,
                validation=validation,
                start=partial(_start, weights=weights, part=part),
                checkpoint_folder=folder / part,
            )
            for part in PARTS
        }
        chosen = _best_part(trainings, version.number)
        return trainings[chosen].finish(on_epoch)


def _of_smaller_steps(config: TrainConfig) -> TrainConfig:
    """Return the configuration with fewer and smaller steps than a training from scratch has."""
    return config.shortened(round(MIN_STEPS_FACTOR * config.min_steps)).model_copy(
        update={"learning_rate": LEARNING_RATE_FACTOR * config.learning_rate}
    )


def _best_part(trainings: Mapping[Part, Fitting], version: int) -> Part:
    """Return the part whose training has the lowest validation loss after one epoch."""
    losses = {part: _first_loss(training) for part, training in trainings.items()}
    chosen = min(losses, key=losses.__getitem__)
    tried = ", ".join(f"{part} {loss:.4f}" for part, loss in losses.items())
    logger.info("warm start from version %d: %s is trained (validation loss: %s)", version, chosen, tried)
    return chosen


def draw_examples(data: Dataset, outputs: Outputs, seed: int) -> tuple[Split, Split]:
    """Draw the examples of a warm start.

    Args:
        data: a prepared data set with classes.
        outputs: probabilities of the version that is started from, on the training examples, `[n, classes]`.
        seed: of the draw.

    Returns:
        Training examples: replayed ones and those drawn by their loss, shuffled. Validation examples: as many of the
        validation split as are replayed, then held-out examples drawn by their loss.
    """
    generator = np.random.default_rng(seed)
    size = len(data.train)
    half = min(size, max(MIN_SAMPLE, round(SAMPLE_SHARE * size))) // 2
    loss = -np.log(np.maximum(outputs[np.arange(size), data.train.targets], MIN_PROBABILITY))
    # One mean loss, spread over all examples, keeps every probability positive.
    drawn = generator.choice(size, half, replace=False, p=(loss + loss.mean() / size) / (loss.sum() + loss.mean()))
    held_out, kept = np.split(drawn, [round(HELD_OUT_SHARE * half)])
    others = np.setdiff1d(np.arange(size), drawn)
    replayed = generator.choice(others, min(half, len(others)), replace=False)
    unseen = data.train.take(held_out)
    usual = data.validation.take(generator.permutation(len(data.validation))[:half])
    train = data.train.take(generator.permutation(np.concatenate([replayed, kept])))
    return train, usual.concatenate(unseen)


def _start(model: keras.Model, weights: Path, part: Part) -> None:
    """Give a network the weights to start from, and let only a part of it be trained."""
    load_weights(model, weights)
    layers = [layer for layer in model.layers if layer.trainable_weights]
    kernels = [number for number, layer in enumerate(layers) if _has_kernel(layer)]
    ranges: Mapping[Part, range] = {
        "first block": range(kernels[1] if len(kernels) > 1 else len(layers)),
        "head": range(kernels[-1], len(layers)),
        "all": range(len(layers)),
    }
    for number, layer in enumerate(layers):
        layer.trainable = number in ranges[part]


def _has_kernel(layer: keras.Layer) -> bool:
    return any(len(weight.shape) >= MIN_KERNEL_RANK for weight in layer.trainable_weights)


def load_weights(model: keras.Model, weights: Path) -> None:
    """Give a network the weights of a version's, read from its Keras file.

    Raises:
        StageError: the version's network has another architecture.
    """
    try:
        model.load_weights(weights)
    except (KeyError, ValueError) as error:
        raise StageError(
            f"{PARAMETER}: the version has another architecture than this network: {error}",
            "Start it by `mnistflow retrain`, which takes over the architecture.",
        ) from error


def _first_loss(training: Fitting) -> float:
    """Return the validation loss after the first epoch, whose checkpoint stays in its folder."""
    if not training.history:
        training.run_epoch()
    return float(np.nan_to_num(training.history[MONITORED][0], nan=np.inf))
