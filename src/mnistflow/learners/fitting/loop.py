"""Training of a Keras model: early stopping, best weights, moving averages of the weights, and checkpoints.

Keras computes with TensorFlow, JAX or PyTorch; `tf.data` makes the batches for each of them.

Training is deterministic: the same seed on the same machine gives the same weights, bit for bit, also after an
interruption. The order and the augmentation of an epoch's batches depend on the seed and the number of the epoch only,
and a checkpoint contains the optimizer's variables and the states of random generators besides the weights.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mnistflow.arrays import Array
from mnistflow.learners.config import AugmentConfig, TrainConfig
from mnistflow.learners.distillation import Teacher
from mnistflow.learners.fitting import checkpoint, optimizers
from mnistflow.learners.fitting.acceleration import accelerated
from mnistflow.learners.fitting.checkpoint import Checkpoint
from mnistflow.learners.fitting.epoch import EpochPlan
from mnistflow.learners.fitting.normalization import BatchStatistics
from mnistflow.learners.fitting.progress import Progress
from mnistflow.learners.fitting.training_batches import TrainingBatches
from mnistflow.learners.learner import History, OnEpoch, Training
from mnistflow.models.networks.network import Network
from mnistflow.runtime import backend
from mnistflow.runtime.batches import EVAL_BATCH_SIZE, batches, prefetched
from mnistflow.splits import Split
from mnistflow.tasks.task import Signature, Task

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)


@dataclass
class _State:
    """The state of a training.

    Attributes:
        model: in float32, not accelerated; evaluated after each epoch, and the result of the training.
        fitted_model: accelerated copy of `model`, which the optimizer updates.
        statistics: recomputes the batch statistics of `model`.
        progress: metrics of the epochs so far, and the best weights of `model`.
    """

    model: keras.Model
    fitted_model: keras.Model
    statistics: BatchStatistics
    progress: Progress


class Fitting:
    """The training of a network, epoch by epoch.

    Args:
        task: builds and compiles the model.
        signature: inputs and outputs of the model.
        family: architecture of the model.
        config: section `train` of params.yaml.
        train: training examples; images are augmented by `config.augment`.
        validation: examples for early stopping, never augmented. The validation loss uses the same label smoothing as
            training: without it, early stopping would favour epochs with more confident predictions.
        start: gives the network the weights to start from, and says by `trainable` which of its layers are trained.
        teacher: makes soft targets of the training labels.
        checkpoint_folder: where to write a checkpoint after each epoch. A checkpoint found there is resumed.

    Raises:
        ConfigError: the backend is not installed, or label smoothing is set for a task without classes.
    """

    def __init__(
        self,
        task: Task,
        signature: Signature,
        family: Network,
        config: TrainConfig,
        *,
        train: Split,
        validation: Split,
        start: Callable[[keras.Model], None] | None = None,
        teacher: Teacher | None = None,
        checkpoint_folder: Path | None = None,
    ) -> None:
        backend.use(config.backend)
        make_deterministic(config.seed)
        if not signature.takes_images:
            config = config.model_copy(update={"augment": AugmentConfig()})
        plan = EpochPlan.of(config, len(train))
        model = task.build(family, signature)
        if start:
            start(model)
        self._config = config
        self._train = train
        self._validation = validation
        self._batches = TrainingBatches(train, config, plan, teacher)
        self._state = _initial_state(task, model, config, plan)
        self._progress = self._state.progress
        self._folder = checkpoint_folder
        if checkpoint_folder:
            _resume(self._state, checkpoint_folder)

    @property
    def history(self) -> History:
        """Metrics of the epochs so far, those of a resumed checkpoint included."""
        return self._progress.history

    @property
    def is_finished(self) -> bool:
        """Whether the validation loss has not improved for `config.patience` epochs, or all epochs have been run."""
        return self._progress.is_finished(self._config)

    def run_epoch(self) -> None:
        """Train for an epoch, and write the checkpoint."""
        _run_epoch(self._state, self._config, self._batches.of(self._progress.epoch), self._train, self._validation)
        if self._folder:
            checkpoint.write(self._folder, _checkpoint(self._state))

    def finish(self, on_epoch: OnEpoch) -> Training:
        """Train to the end.

        Args:
            on_epoch: called with the number of each epoch, from 1, and its metrics; also for the epochs so far. An
                exception ends the training.

        Raises:
            StageError: the training diverged in its first epoch.
        """
        self._progress.replay(on_epoch)
        while not self.is_finished:
            self.run_epoch()
            self._progress.report_last(on_epoch)
        return _result(self._state)


class BeginFitting(Protocol):
    """Builds a network and returns its training, of which no epoch has been run yet; see `Fitting`."""

    def __call__(
        self,
        config: TrainConfig,
        *,
        train: Split,
        validation: Split,
        start: Callable[[keras.Model], None] | None = None,
        checkpoint_folder: Path | None = None,
    ) -> Fitting: ...


def _result(state: _State) -> Training:
    progress = state.progress
    progress.require_convergence()
    state.model.set_weights(progress.best_weights)
    return Training(
        model=state.model,
        history=progress.history,
        best_epoch=progress.best_epoch,
        parameters=state.model.count_params(),
        seconds=progress.seconds,
    )


def make_deterministic(seed: int) -> None:
    """Seed all random generators, and let TensorFlow use deterministic operators only."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def _torch_seed_callbacks(seed: int, epoch: int) -> list[keras.callbacks.Callback]:
    """Return callbacks that seed PyTorch at the beginning of an epoch.

    With PyTorch, dropout draws from the global generator, whose state is not a variable of the model. It is seeded in
    the epoch, because the first `fit` of a process draws from it before that, to build the model.
    """
    if backend.current() != "torch":
        return []
    import keras
    import torch

    epoch_seed = int(np.random.default_rng((seed, epoch)).integers(2**31))
    return [keras.callbacks.LambdaCallback(on_epoch_begin=lambda *_: torch.manual_seed(epoch_seed))]


def _initial_state(task: Task, model: keras.Model, config: TrainConfig, plan: EpochPlan) -> _State:
    import keras

    fitted_model = accelerated(model, config.precision)
    if config.from_logits:
        fitted_model = task.to_logits(fitted_model)
    statistics = BatchStatistics(model)
    # `model` is only evaluated, so its optimizer is a placeholder.
    task.compile(model, keras.optimizers.SGD(), config.label_smoothing)
    optimizer = optimizers.build(config, steps_per_epoch=plan.steps)
    task.compile(fitted_model, optimizer, config.label_smoothing)
    fitted_model.steps_per_execution = _steps_per_execution(config, plan)
    return _State(model, fitted_model, statistics, Progress(_copied_weights(model)))


def _steps_per_execution(config: TrainConfig, plan: EpochPlan) -> int:
    if config.steps_per_execution != "epoch":
        return config.steps_per_execution
    return plan.steps if backend.current() == "tensorflow" else 1


def _copied_weights(model: keras.Model) -> list[Array]:
    """Return copies, because PyTorch's `get_weights` returns views that change with the weights."""
    return [weight.copy() for weight in model.get_weights()]


def _run_epoch(state: _State, config: TrainConfig, shuffled: Any, train: Split, validation: Split) -> None:
    started = time.perf_counter()
    callbacks = _torch_seed_callbacks(config.seed, state.progress.epoch)
    fitted = state.fitted_model.fit(shuffled, shuffle=False, verbose=0, callbacks=callbacks).history
    state.model.set_weights(state.fitted_model.get_weights())
    if config.ema:
        state.fitted_model.optimizer.assign_averages(state.model.trainable_variables)
        # Under JAX, the model now shares arrays with the optimizer, whose next update would delete them.
        state.model.set_weights(_copied_weights(state.model))
    state.statistics.update(train.inputs[: config.statistics])
    validation_batches = prefetched(batches(validation.inputs, validation.targets, size=EVAL_BATCH_SIZE))
    evaluated = state.model.evaluate(validation_batches, verbose=0, return_dict=True)
    state.progress.seconds += time.perf_counter() - started
    metrics = {name: float(values[-1]) for name, values in sorted(fitted.items())}
    metrics |= {f"val_{name}": float(value) for name, value in sorted(evaluated.items())}
    state.progress.add(metrics, lambda: _copied_weights(state.model))


def _checkpoint(state: _State) -> Checkpoint:
    variables = [variable.numpy() for variable in checkpoint.variables_of(state.fitted_model)]
    return state.progress.checkpoint(variables)


def _resume(state: _State, folder: Path) -> None:
    resumed = checkpoint.read(folder)
    if resumed is None:
        return
    state.progress.restore(resumed)
    for variable, value in zip(checkpoint.variables_of(state.fitted_model), resumed.variables, strict=True):
        variable.assign(value)
    logger.info("resuming after epoch %d", resumed.epoch)
