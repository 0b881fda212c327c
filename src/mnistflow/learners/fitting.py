"""Fitting a Keras model: early stopping, best weights, and a journal from which a killed training goes on.

Keras computes with TensorFlow, JAX or PyTorch; TensorFlow feeds the batches to each of them.

Deterministic: the same seed on the same machine gives the same weights, bit for bit, also when the training was killed
and resumed. Each epoch's order depends on the seed and the epoch only, and the journal keeps the state of optimizer and
random generators with the weights.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistflow.errors import StageError
from mnistflow.files import atomic_write, read_json, remove, write_json
from mnistflow.learners.acceleration import accelerated
from mnistflow.learners.augmentation import augment
from mnistflow.learners.config import AugmentConfig, TrainConfig
from mnistflow.learners.learner import WATCHED, History, OnEpoch, Training
from mnistflow.learners.normalization import take_statistics
from mnistflow.models.family import Network
from mnistflow.runtime import backend
from mnistflow.runtime.batches import JUDGED, batches, prefetched, threads
from mnistflow.splits import Split
from mnistflow.tasks.task import Signature, Task

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)

ONE_CYCLE_START = 0.04  # of the highest rate
ONE_CYCLE_RISE = 0.2  # of the steps


@dataclass
class _Progress:
    """The state of a training.

    Attributes:
        network: plain, in float32: what is judged after each epoch, and kept.
        trainee: the copy of it that is fitted.
    """

    network: keras.Model
    trainee: keras.Model
    best_weights: list[Any]
    history: History
    seconds: float = 0.0

    @property
    def epoch(self) -> int:
        return len(self.history.get(WATCHED, []))


def fit(
    task: Task,
    signature: Signature,
    family: Network,
    config: TrainConfig,
    train: Split,
    validation: Split,
    on_epoch: OnEpoch,
    journal: Path | None = None,
) -> Training:
    """Fit until the validation loss has not improved for `config.patience` epochs, or `config.epochs` are done.

    Args:
        train: what the model is fitted to; images are augmented by `config.augment`.
        validation: what early stopping looks at; never augmented. Its loss is the one that is minimized,
            with smoothed labels where those are: plain ones would favour epochs in which the model was more sure.
        on_epoch: called with the epoch, from 1, and its measures; an exception ends the training.
        journal: folder for the state after each epoch; a training found there is continued.

    Raises:
        ConfigError: the backend is not installed, or smoothing of targets that are no labels.
        StageError: the training diverged at once.
    """
    backend.use(config.backend)
    _make_deterministic(config.seed)
    if not signature.takes_images:
        config = config.model_copy(update={"augment": AugmentConfig()})
    progress = _start(task, signature, family, config, len(train))
    if journal:
        _resume(progress, journal)
    for epoch, measures in enumerate(_rows(progress.history), start=1):
        on_epoch(epoch, measures)
    while progress.epoch < config.epochs and not _exhausted(progress.history, config):
        measures = _run_epoch(progress, config, train, validation)
        if journal:
            _write_journal(journal, progress)
        on_epoch(progress.epoch, measures)
    if not np.isfinite(progress.history[WATCHED]).any():
        raise StageError("the training diverged: its loss is no finite number", "Lower train.learning_rate.")
    progress.network.set_weights(progress.best_weights)
    return Training(
        progress.network,
        progress.history,
        _best_epoch(progress.history),
        progress.network.count_params(),
        progress.seconds,
    )


def _make_deterministic(seed: int) -> None:
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def _seeding(seed: int, epoch: int) -> list[keras.callbacks.Callback]:
    """PyTorch draws dropout from a generator of its own, which no variable of the model holds.

    It is seeded when the epoch begins: the first `fit` of a process draws from it before, to build the model.
    """
    if backend.current() != "torch":
        return []
    import keras
    import torch

    drawn = int(np.random.default_rng((seed, epoch)).integers(2**31))
    return [keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: torch.manual_seed(drawn))]


def _start(task: Task, signature: Signature, family: Network, config: TrainConfig, rows: int) -> _Progress:
    import keras

    network = task.build(family, signature)
    trainee = accelerated(network, config.precision)
    if config.from_logits:
        trainee = task.to_logits(trainee)
    # An optimizer that takes no step: this one is judged only, by what the other minimizes.
    task.compile(network, keras.optimizers.SGD(), config.label_smoothing)
    task.compile(trainee, optimizer(config, steps_per_epoch=_steps(rows, config)), config.label_smoothing)
    trainee.steps_per_execution = config.steps_per_execution
    return _Progress(network, trainee, _copied_weights(network), {})


def _copied_weights(model: keras.Model) -> list[Any]:
    """PyTorch hands out views of the weights, which change with them."""
    return [weight.copy() for weight in model.get_weights()]


def _steps(rows: int, config: TrainConfig) -> int:
    return -(-rows // config.batch_size)


def optimizer(config: TrainConfig, steps_per_epoch: int) -> keras.Optimizer:
    """Return the optimizer of a TrainConfig with its learning-rate schedule and its average of the weights."""
    import keras

    rate = schedule(config, config.epochs * steps_per_epoch)
    average = {"use_ema": True, "ema_momentum": config.ema} if config.ema else {}
    made: keras.Optimizer
    match config.optimizer:
        case "sgd":
            made = keras.optimizers.SGD(rate, **average)
        case "momentum":
            made = keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, **average)
        case "rmsprop":
            made = keras.optimizers.RMSprop(rate, **average)
        case "adam":
            made = keras.optimizers.Adam(rate, **average)
        case "adamw":
            made = keras.optimizers.AdamW(rate, weight_decay=config.weight_decay, **average)
    # At the end of each epoch Keras would put the averages in place of the weights, and train on from there.
    made.finalize_variable_values = lambda _: None
    return made


def schedule(config: TrainConfig, steps: int) -> Any:
    """Return the learning rate as a number or a Keras schedule over all steps of a training.

    `one_cycle` follows Smith and Topin, arXiv:1708.07120: up from a 25th of the rate in a straight line for a fifth of
    the steps, then down to zero along a cosine.
    """
    import keras

    match config.schedule:
        case "constant":
            return config.learning_rate
        case "cosine":
            return keras.optimizers.schedules.CosineDecay(config.learning_rate, decay_steps=steps)
        case "one_cycle":
            rising = max(1, round(ONE_CYCLE_RISE * steps))
            return keras.optimizers.schedules.CosineDecay(
                ONE_CYCLE_START * config.learning_rate,
                decay_steps=max(1, steps - rising),
                warmup_target=config.learning_rate,
                warmup_steps=rising,
            )


def _run_epoch(progress: _Progress, config: TrainConfig, train: Split, validation: Split) -> dict[str, float]:
    started = time.perf_counter()
    shuffled, callbacks = _shuffled(train, config, progress.epoch), _seeding(config.seed, progress.epoch)
    fitted = progress.trainee.fit(shuffled, shuffle=False, verbose=0, callbacks=callbacks).history
    progress.network.set_weights(progress.trainee.get_weights())
    if config.ema:
        averaged_optimizer = progress.trainee.optimizer
        type(averaged_optimizer).finalize_variable_values(averaged_optimizer, progress.network.trainable_variables)
        # A copy: under JAX, variables that share an array lose it when one of them is updated.
        progress.network.set_weights(_copied_weights(progress.network))
    take_statistics(progress.network, train.inputs[: config.statistics])
    judging = prefetched(batches(validation.inputs, validation.targets, size=JUDGED))
    judged = progress.network.evaluate(judging, verbose=0, return_dict=True)
    progress.seconds += time.perf_counter() - started
    measures = {name: float(values[-1]) for name, values in sorted(fitted.items())}
    measures |= {f"val_{name}": float(value) for name, value in sorted(judged.items())}
    for name, value in measures.items():
        progress.history.setdefault(name, []).append(value)
    if _best_epoch(progress.history) == progress.epoch:
        progress.best_weights = _copied_weights(progress.network)
    return measures


def _shuffled(train: Split, config: TrainConfig, epoch: int) -> Any:
    """Return the batches of an epoch, augmented: their order and changes depend on seed and epoch only."""
    import tensorflow as tf

    order = np.random.default_rng((config.seed, epoch)).permutation(len(train))
    pipeline = batches(train.inputs[order], train.targets[order], size=config.batch_size)
    augmentation = config.augment.scaled(_strength(epoch, config))
    if augmentation.active:
        first = epoch * _steps(len(train), config)

        def changed(step: Any, batch: Any) -> Any:
            return augment(batch[0], tf.stack([config.seed, tf.cast(step, tf.int32)]), augmentation), batch[1]

        pipeline = pipeline.enumerate(first).map(changed, num_parallel_calls=threads())
    return prefetched(pipeline)


def _strength(epoch: int, config: TrainConfig) -> float:
    """Return how large the changes of images are in an epoch, from 0: 1 until they fade in a straight line."""
    left = (config.epochs - epoch - 0.5) / config.epochs
    return min(1.0, left / config.augment_fade) if config.augment_fade else 1.0


def _best_epoch(history: History) -> int:
    return int(np.argmin(np.nan_to_num(history[WATCHED], nan=np.inf))) + 1


def _exhausted(history: History, config: TrainConfig) -> bool:
    """Whether the best loss, by more than `min_delta`, is `patience` epochs old, or the training has diverged."""
    best, best_epoch = float("inf"), 0
    losses = history.get(WATCHED, [])
    for epoch, loss in enumerate(losses, start=1):
        if loss < best - config.min_delta:
            best, best_epoch = loss, epoch
    return len(losses) - best_epoch >= config.patience or not np.isfinite(losses[-1:]).all()


def _rows(history: History) -> list[dict[str, float]]:
    return [dict(zip(history, values, strict=True)) for values in zip(*history.values(), strict=True)]


def _write_journal(journal: Path, progress: _Progress) -> None:
    """Keep the newest epoch in a folder of its own: a kill at any moment leaves the one before it whole."""
    with atomic_write(journal / f"epoch-{progress.epoch:04d}") as folder:
        folder.mkdir()
        np.savez(folder / "last.npz", *(variable.numpy() for variable in _state(progress.trainee)))
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
    for variable, value in zip(_state(progress.trainee), _read_arrays(epochs[-1] / "last.npz"), strict=True):
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
