"""Fitting a Keras model: early stopping, best weights, and a journal from which a killed training goes on.

Deterministic: the same seed on the same machine gives the same weights, bit for bit, also when the training was killed
and resumed. Each epoch's order depends on the seed and the epoch only, and the journal keeps the state of optimizer and
random generators with the weights.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistflow.config import TrainConfig
from mnistflow.data.splits import Split
from mnistflow.files import atomic_write, read_json, remove, write_json
from mnistflow.models import ModelConfig
from mnistflow.native import import_tensorflow
from mnistflow.tasks.task import Signature, Task

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)

WATCHED = "val_loss"
EVALUATION_BATCH = 1000

History = dict[str, list[float]]
OnEpoch = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes:
        model: with the weights of the best epoch.
        history: measure -> one value an epoch.
        best_epoch: counted from 1.
        seconds: spent fitting, over all starts.
    """

    model: keras.Model
    history: History
    best_epoch: int
    seconds: float

    @property
    def best(self) -> dict[str, float]:
        """Values of the epoch whose weights are kept: what early stopping makes of the last ones is no measure."""
        return {name: values[self.best_epoch - 1] for name, values in self.history.items()}


@dataclass
class _Progress:
    model: keras.Model
    best_weights: list[Any]
    history: History
    seconds: float = 0.0

    @property
    def epoch(self) -> int:
        return len(self.history.get(WATCHED, []))


def fit(
    task: Task,
    signature: Signature,
    model: ModelConfig,
    config: TrainConfig,
    train: Split,
    validation: Split,
    on_epoch: OnEpoch,
    journal: Path | None = None,
) -> Training:
    """Fit until the validation loss has not improved for `config.patience` epochs, or `config.epochs` are done.

    Args:
        on_epoch: called with the epoch, from 1, and its measures; an exception ends the training.
        journal: folder for the state after each epoch; a training found there is continued.
    """
    _make_deterministic(config.seed)
    progress = _start(task, signature, model, config, len(train))
    if journal:
        _resume(progress, journal)
    for epoch, measures in enumerate(_rows(progress.history), start=1):
        on_epoch(epoch, measures)
    while progress.epoch < config.epochs and not _exhausted(progress.history, config):
        measures = _run_epoch(progress, config, train, validation)
        if journal:
            _write_journal(journal, progress)
        on_epoch(progress.epoch, measures)
    progress.model.set_weights(progress.best_weights)
    return Training(progress.model, progress.history, _best_epoch(progress.history), progress.seconds)


def _make_deterministic(seed: int) -> None:
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def load_tensorflow(threads: int) -> None:
    """Import TensorFlow and give its operators so many threads (0 = one a core); once, before its first use."""
    import_tensorflow()
    import tensorflow as tf

    if threads != tf.config.threading.get_intra_op_parallelism_threads():
        tf.config.threading.set_intra_op_parallelism_threads(threads)


def _start(task: Task, signature: Signature, model: ModelConfig, config: TrainConfig, rows: int) -> _Progress:
    network = task.build(model.chosen, signature)
    task.compile(network, optimizer(config, steps_per_epoch=-(-rows // config.batch_size)))
    return _Progress(network, network.get_weights(), {})


def optimizer(config: TrainConfig, steps_per_epoch: int) -> keras.Optimizer:
    """Return the optimizer of a TrainConfig with its learning-rate schedule."""
    import keras

    rate: Any = config.learning_rate
    if config.schedule == "cosine":
        rate = keras.optimizers.schedules.CosineDecay(rate, decay_steps=config.epochs * steps_per_epoch)
    match config.optimizer:
        case "sgd":
            return keras.optimizers.SGD(rate)
        case "momentum":
            return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True)
        case "rmsprop":
            return keras.optimizers.RMSprop(rate)
        case "adam":
            return keras.optimizers.Adam(rate)
        case "adamw":
            return keras.optimizers.AdamW(rate, weight_decay=config.weight_decay)


def _run_epoch(progress: _Progress, config: TrainConfig, train: Split, validation: Split) -> dict[str, float]:
    order = np.random.default_rng((config.seed, progress.epoch)).permutation(len(train))
    started = time.perf_counter()
    result = progress.model.fit(
        train.inputs[order],
        train.targets[order],
        batch_size=config.batch_size,
        shuffle=False,
        verbose=0,
        validation_data=(validation.inputs, validation.targets),
        validation_batch_size=EVALUATION_BATCH,
    )
    progress.seconds += time.perf_counter() - started
    measures = {name: float(values[-1]) for name, values in result.history.items()}
    for name, value in measures.items():
        progress.history.setdefault(name, []).append(value)
    if _best_epoch(progress.history) == progress.epoch:
        progress.best_weights = progress.model.get_weights()
    return measures


def _best_epoch(history: History) -> int:
    return int(np.argmin(history[WATCHED])) + 1


def _exhausted(history: History, config: TrainConfig) -> bool:
    """Whether the best loss, by more than `min_delta`, is `patience` epochs old."""
    best, best_epoch = float("inf"), 0
    losses = history.get(WATCHED, [])
    for epoch, loss in enumerate(losses, start=1):
        if loss < best - config.min_delta:
            best, best_epoch = loss, epoch
    return len(losses) - best_epoch >= config.patience


def _rows(history: History) -> list[dict[str, float]]:
    return [dict(zip(history, values, strict=True)) for values in zip(*history.values(), strict=True)]


def _write_journal(journal: Path, progress: _Progress) -> None:
    """Keep the newest epoch in a folder of its own: a kill at any moment leaves the one before it whole."""
    with atomic_write(journal / f"epoch-{progress.epoch:04d}") as folder:
        folder.mkdir()
        np.savez(folder / "last.npz", *(variable.numpy() for variable in _state(progress.model)))
        np.savez(folder / "best.npz", *progress.best_weights)
        write_json(folder / "history.json", {"history": progress.history, "seconds": progress.seconds})
    for older in _journal_epochs(journal)[:-1]:
        remove(older)


def _resume(progress: _Progress, journal: Path) -> None:
    epochs = _journal_epochs(journal)
    if not epochs:
        return
    written = read_json(epochs[-1] / "history.json")
    progress.history, progress.seconds = written["history"], written["seconds"]
    for variable, value in zip(_state(progress.model), _read_arrays(epochs[-1] / "last.npz"), strict=True):
        variable.assign(value)
    progress.best_weights = _read_arrays(epochs[-1] / "best.npz")
    logger.info("going on after epoch %d", progress.epoch)


def _state(model: keras.Model) -> list[Any]:
    """All that the next epoch depends on: weights, the random generators of dropout, and the optimizer."""
    model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]


def _read_arrays(path: Path) -> list[Any]:
    with np.load(path) as arrays:
        return [arrays[name] for name in arrays.files]


def _journal_epochs(journal: Path) -> list[Path]:
    return sorted(journal.glob("epoch-[0-9]*")) if journal.is_dir() else []
