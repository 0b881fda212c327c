"""Training loop: epochs with early stopping, best weights, checkpoints and resuming, for any kind of network.

Training is deterministic: the same seed on the same machine gives the same weights, bit for bit, also after an
interruption. The random numbers of an epoch depend on the seed and the number of the epoch only, and a checkpoint
contains the optimizer's variables and the states of random generators besides the weights.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from mnistflow.arrays import Array
from mnistflow.learners.config import TrainConfig
from mnistflow.learners.fitting import checkpoint
from mnistflow.learners.fitting.progress import Progress
from mnistflow.learners.learner import History, OnEpoch, Training

if TYPE_CHECKING:
    import keras

logger = logging.getLogger(__name__)


class Fitting(ABC):
    """The training of a model, epoch by epoch.

    A subclass defines what an epoch is, and the state that the next epoch depends on. Its constructor calls this one
    last, because a checkpoint is resumed here.

    Args:
        model: evaluated after each epoch; with the weights of the best epoch, it is the result of the training.
        config: section `train` of params.yaml.
        checkpoint_folder: where to write a checkpoint after each epoch. A checkpoint found there is resumed.
    """

    def __init__(self, model: keras.Model, config: TrainConfig, checkpoint_folder: Path | None) -> None:
        self._model = model
        self._config = config
        self._progress = Progress(copied_weights(model))
        self._checkpoint_folder = checkpoint_folder
        if checkpoint_folder:
            self._resume(checkpoint_folder)

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
        metrics, seconds = self._train_epoch(self._progress.epoch)
        self._progress.seconds += seconds
        self._progress.add(metrics, lambda: copied_weights(self._model))
        if self._checkpoint_folder:
            checkpoint.write(self._checkpoint_folder, self._progress.checkpoint(self._state()))

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
        self._progress.require_convergence()
        self._model.set_weights(self._progress.best_weights)
        return Training(
            model=self._model,
            history=self._progress.history,
            best_epoch=self._progress.best_epoch,
            parameters=self._model.count_params(),
            seconds=self._progress.seconds,
        )

    def _resume(self, folder: Path) -> None:
        resumed = checkpoint.read(folder)
        if resumed is None:
            return
        self._progress.restore(resumed)
        self._restore(resumed.variables)
        logger.info("resuming after epoch %d", resumed.epoch)

    @abstractmethod
    def _train_epoch(self, epoch: int) -> tuple[Mapping[str, float], float]:
        """Train for an epoch, and evaluate the model.

        Args:
            epoch: number of the epoch, from 0.

        Returns:
            The metrics of the epoch, `val_loss` among them, and the seconds that it took.
        """

    @abstractmethod
    def _state(self) -> list[Array]:
        """Return all values that the next epoch depends on."""

    @abstractmethod
    def _restore(self, state: Sequence[Array]) -> None:
        """Continue from what `_state` returned after an earlier epoch."""


def make_deterministic(seed: int) -> None:
    """Seed all random generators, and let TensorFlow use deterministic operators only."""
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


def copied_weights(model: keras.Model) -> list[Array]:
    """Return copies, because PyTorch's `get_weights` returns views that change with the weights."""
    return [weight.copy() for weight in model.get_weights()]
