"""Training of a Keras model on inputs and targets: augmented batches, mixed precision, moving averages of the weights.

Keras computes with TensorFlow, JAX or PyTorch; `tf.data` makes the batches for each of them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from mnistflow.arrays import Array
from mnistflow.learners.config import AugmentConfig, TrainConfig
from mnistflow.learners.distillation import Teacher
from mnistflow.learners.fitting import checkpoint, optimizers
from mnistflow.learners.fitting.acceleration import accelerated
from mnistflow.learners.fitting.epoch import EpochPlan
from mnistflow.learners.fitting.loop import Fitting, copied_weights, make_deterministic
from mnistflow.learners.fitting.normalization import BatchStatistics
from mnistflow.learners.fitting.training_batches import TrainingBatches
from mnistflow.models.networks.network import Network
from mnistflow.runtime import backend
from mnistflow.runtime.batches import EVAL_BATCH_SIZE, batches, prefetched
from mnistflow.splits import Split
from mnistflow.tasks.task import Signature, Task

if TYPE_CHECKING:
    import keras


class SupervisedFitting(Fitting):
    """The training of a network on inputs and targets.

    There are two models: `_fitted_model` is accelerated, and updated by the optimizer; its weights, or their moving
    averages, are given to `_model`, in float32, after each epoch.

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
        self._train = train
        self._validation = validation
        self._batches = TrainingBatches(train, config, plan, teacher)
        self._fitted_model = _fitted_model(task, model, config)
        self._statistics = BatchStatistics(model)
        _compile(task, model, self._fitted_model, config, plan)
        super().__init__(model, config, checkpoint_folder)

    def _train_epoch(self, epoch: int) -> tuple[Mapping[str, float], float]:
        shuffled = self._batches.of(epoch)
        started = time.perf_counter()
        callbacks = _torch_seed_callbacks(self._config.seed, epoch)
        fitted = self._fitted_model.fit(shuffled, shuffle=False, verbose=0, callbacks=callbacks).history
        self._update_model()
        validation_batches = prefetched(
            batches(self._validation.inputs, self._validation.targets, size=EVAL_BATCH_SIZE)
        )
        evaluated = self._model.evaluate(validation_batches, verbose=0, return_dict=True)
        seconds = time.perf_counter() - started
        metrics = {name: float(values[-1]) for name, values in sorted(fitted.items())}
        metrics |= {f"val_{name}": float(value) for name, value in sorted(evaluated.items())}
        return metrics, seconds

    def _update_model(self) -> None:
        """Give the evaluated model the weights of the fitted one, or their moving averages."""
        self._model.set_weights(self._fitted_model.get_weights())
        if self._config.ema:
            self._fitted_model.optimizer.assign_averages(self._model.trainable_variables)
            # Under JAX, the model now shares arrays with the optimizer, whose next update would delete them.
            self._model.set_weights(copied_weights(self._model))
        self._statistics.update(self._train.inputs[: self._config.statistics])

    def _state(self) -> list[Array]:
        return [variable.numpy() for variable in checkpoint.variables_of(self._fitted_model)]

    def _restore(self, state: Sequence[Array]) -> None:
        for variable, value in zip(checkpoint.variables_of(self._fitted_model), state, strict=True):
            variable.assign(value)


class BeginFitting(Protocol):
    """Builds a network and returns its training, of which no epoch has been run yet; see `SupervisedFitting`."""

    def __call__(
        self,
        config: TrainConfig,
        *,
        train: Split,
        validation: Split,
        start: Callable[[keras.Model], None] | None = None,
        checkpoint_folder: Path | None = None,
    ) -> Fitting: ...


def _fitted_model(task: Task, model: keras.Model, config: TrainConfig) -> keras.Model:
    fitted_model = accelerated(model, config.precision)
    return task.to_logits(fitted_model) if config.from_logits else fitted_model


def _compile(task: Task, model: keras.Model, fitted_model: keras.Model, config: TrainConfig, plan: EpochPlan) -> None:
    import keras

    # `model` is only evaluated, so its optimizer is a placeholder.
    task.compile(model, keras.optimizers.SGD(), config.label_smoothing)
    optimizer = optimizers.build(config, steps_per_epoch=plan.steps)
    task.compile(fitted_model, optimizer, config.label_smoothing)
    fitted_model.steps_per_execution = _steps_per_execution(config, plan)


def _steps_per_execution(config: TrainConfig, plan: EpochPlan) -> int:
    if config.steps_per_execution != "epoch":
        return config.steps_per_execution
    return plan.steps if backend.current() == "tensorflow" else 1


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
