"""Progress of a training: metrics of each epoch, the best weights, and when to stop."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from mnistflow.arrays import Array
from mnistflow.errors import StageError
from mnistflow.learners.config import TrainConfig
from mnistflow.learners.fitting.checkpoint import Checkpoint
from mnistflow.learners.learner import MONITORED, History, OnEpoch


@dataclass
class Progress:
    """Metrics of the epochs so far, and the best weights among them.

    Attributes:
        best_weights: weights after the best epoch so far; at first, the initial weights.
        history: metrics of all epochs so far.
        seconds: time spent training so far.
    """

    best_weights: list[Array]
    history: History = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def epoch(self) -> int:
        """Number of epochs trained."""
        return len(self.history.get(MONITORED, []))

    @property
    def best_epoch(self) -> int:
        """Number of the epoch with the lowest validation loss, from 1."""
        return int(np.argmin(np.nan_to_num(self.history[MONITORED], nan=np.inf))) + 1

    def add(self, metrics: Mapping[str, float], weights: Callable[[], list[Array]]) -> None:
        """Add the metrics of an epoch.

        Args:
            metrics: name -> value, the validation loss among them.
            weights: returns the weights after the epoch; called if it is the best one.
        """
        for name, value in metrics.items():
            self.history.setdefault(name, []).append(value)
        if self.best_epoch == self.epoch:
            self.best_weights = weights()

    def is_finished(self, config: TrainConfig) -> bool:
        """Return whether all epochs have been run, or the validation loss no longer improves."""
        return self.epoch >= config.epochs or self._should_stop(config)

    def _should_stop(self, config: TrainConfig) -> bool:
        """Return whether no epoch of the last `patience` improved the loss by `min_delta`, or the training diverged."""
        best_loss, best_at = float("inf"), 0
        losses = self.history.get(MONITORED, [])
        for epoch, loss in enumerate(losses, start=1):
            if loss < best_loss - config.min_delta:
                best_loss, best_at = loss, epoch
        return len(losses) - best_at >= config.patience or not np.isfinite(losses[-1:]).all()

    def require_convergence(self) -> None:
        """Check that any epoch has a finite loss.

        Raises:
            StageError: none has.
        """
        if not np.isfinite(self.history[MONITORED]).any():
            raise StageError("the training diverged: its loss is not a finite number", "Lower train.learning_rate.")

    def report_last(self, on_epoch: OnEpoch) -> None:
        """Call `on_epoch` with the number and the metrics of the last epoch."""
        on_epoch(self.epoch, {name: values[-1] for name, values in self.history.items()})

    def replay(self, on_epoch: OnEpoch) -> None:
        """Call `on_epoch` with the number, from 1, and the metrics of each epoch so far."""
        for epoch, values in enumerate(zip(*self.history.values(), strict=True), start=1):
            on_epoch(epoch, dict(zip(self.history, values, strict=True)))

    def checkpoint(self, variables: list[Array]) -> Checkpoint:
        """Return a checkpoint with the values of a training's variables."""
        return Checkpoint(self.epoch, variables, self.best_weights, self.history, self.seconds)

    def restore(self, resumed: Checkpoint) -> None:
        """Continue from a checkpoint."""
        self.history, self.seconds, self.best_weights = resumed.history, resumed.seconds, resumed.best_weights
