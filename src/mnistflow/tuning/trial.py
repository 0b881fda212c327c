"""Trial of a search: one training with sampled hyperparameters, run in a worker process."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mnistflow import learners
from mnistflow.learners.config import LearningConfig
from mnistflow.learners.learner import MONITORED
from mnistflow.paths import Paths
from mnistflow.splits import Dataset, Split
from mnistflow.splits import load as load_dataset
from mnistflow.tracking import runs
from mnistflow.tuning import study

if TYPE_CHECKING:
    import optuna


@dataclass(frozen=True)
class TrialJob:
    """Arguments of a trial, pickled for a worker.

    Attributes:
        paths: folders of the workspace.
        learning: sections `model` and `train`, with the sampled hyperparameters.
        train_limit: largest number of training examples, and of validation examples; None means all.
        trial: as returned by `Study.ask`. Its copy in the worker writes to the same storage.
        parent_run: id of the MLflow run of stage tune.
    """

    paths: Paths
    learning: LearningConfig
    train_limit: int | None
    trial: optuna.Trial
    parent_run: str


@dataclass(frozen=True)
class TrialResult:
    """Result of a trial.

    Attributes:
        number: of the trial, from 0.
        loss: lowest validation loss; None if the trial was pruned.
        measures: metrics of the epoch with the lowest validation loss.
        epochs: number of epochs trained.
        seconds: duration of the training.
        run_id: id of the trial's MLflow run.
    """

    number: int
    loss: float | None
    measures: Mapping[str, float]
    epochs: int
    seconds: float
    run_id: str


def run_trial(job: TrialJob) -> TrialResult:
    """Train once with the sampled hyperparameters, report each epoch to the study, and stop if the pruner says so.

    The job of a worker that died is run again. It repeats the epochs with the same losses. Pruners keep no state, so
    the pruned epoch is stored in the study, and the repeated trial ends there too.
    """
    import optuna

    trial = job.trial
    dataset = load_dataset(job.paths.prepared)
    attributes = study.stored_attributes(trial)
    if interrupted_run := attributes.get(study.RUN):
        runs.close(interrupted_run)
    run = runs.start(job.paths, dataset.name, f"trial {trial.number}", kind="trial", parent=job.parent_run)
    trial.set_user_attr(study.RUN, run.run_id)
    epochs = _Epochs(trial, run, attributes.get(study.PRUNED))
    started = time.perf_counter()
    with runs.finished(run):
        family, train = job.learning.model.chosen, job.learning.train
        learner = learners.for_family(family)
        limited = _limited(dataset, job.train_limit)
        # As many passes over the data as in the training that the trial stands for.
        min_steps = math.ceil(train.min_steps * len(limited.train) / len(dataset.train))
        train = train.shortened(min_steps)
        used = job.learning.model_copy(update={"train": train})
        run.log_params(used.flattened() | learner.effective(train, len(limited.train)))
        loss = None
        try:
            learner.fit(limited, family, train, epochs.add)
            loss = epochs.best[MONITORED]
        except optuna.TrialPruned:
            pass
        run.log_metrics({f"best_{name}": value for name, value in epochs.best.items()})
        run.set_tags({"mnistflow.outcome": "pruned" if loss is None else "complete"})
    return TrialResult(trial.number, loss, epochs.best, epochs.count, time.perf_counter() - started, run.run_id)


class _Epochs:
    """The epochs of a trial: logs each to its MLflow run, and ends the trial if the pruner says so.

    Args:
        trial: that epochs are reported to.
        run: the trial's MLflow run.
        pruned_epoch: in which the trial was pruned before its worker died; None if it was not.
    """

    def __init__(self, trial: optuna.Trial, run: runs.Run, pruned_epoch: int | None) -> None:
        self.count = 0
        self.best: dict[str, float] = {}  # metrics of the epoch with the lowest validation loss
        self._trial = trial
        self._run = run
        self._pruned_epoch = pruned_epoch

    def add(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log an epoch.

        Raises:
            optuna.TrialPruned: the trial ends here.
        """
        import optuna

        self.count = epoch
        self._run.log_metrics(metrics, step=epoch)
        if metrics[MONITORED] <= self.best.get(MONITORED, float("inf")):
            self.best.update(metrics)
        if epoch == self._pruned_epoch or self._should_stop(epoch, metrics[MONITORED]):
            self._trial.set_user_attr(study.PRUNED, epoch)
            raise optuna.TrialPruned

    def _should_stop(self, epoch: int, loss: float) -> bool:
        """Report the loss of an epoch; return whether it diverged or the pruner stops the trial."""
        if not math.isfinite(loss):
            return True
        self._trial.report(loss, step=epoch)
        return bool(self._trial.should_prune())


def _limited(dataset: Dataset, limit: int | None) -> Dataset:
    return replace(dataset, train=subset(dataset.train, limit), validation=subset(dataset.validation, limit))


def subset(split: Split, limit: int | None) -> Split:
    """Return at most `limit` examples, drawn with a fixed seed: the same for every trial."""
    if limit is None or limit >= len(split):
        return split
    return split.take(np.random.default_rng(0).permutation(len(split))[:limit])
