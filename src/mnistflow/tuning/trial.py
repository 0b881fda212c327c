"""One trial of a search, run in a worker process."""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mnistflow import learners
from mnistflow.learners.config import LearningConfig
from mnistflow.learners.learner import WATCHED
from mnistflow.paths import Paths
from mnistflow.splits import Dataset, Split
from mnistflow.splits import load as load_dataset
from mnistflow.tracking import runs
from mnistflow.tuning import study
from mnistflow.tuning.config import TuneConfig


@dataclass(frozen=True)
class TrialJob:
    """What a worker needs to run one trial; small enough to send anywhere.

    Attributes:
        learning: with the trial's hyperparameters in place.
        sampled: those hyperparameters, by dotted key.
        trial_id: of the trial in the study, for reports and pruning.
    """

    paths: Paths
    learning: LearningConfig
    tune: TuneConfig
    sampled: Mapping[str, Any]
    storage: str
    study: str
    number: int
    trial_id: int
    parent_run: str


@dataclass(frozen=True)
class TrialResult:
    """What a trial came to.

    Attributes:
        loss: lowest validation loss; None when the trial was pruned.
    """

    number: int
    loss: float | None
    measures: Mapping[str, float]
    epochs: int
    seconds: float
    run_id: str


def run_trial(job: TrialJob) -> TrialResult:
    """Fit once with the job's parameters, report each epoch to the study, and stop when it says so.

    A job whose worker died is run again as it is: the epochs that the study knows already have the same losses, and
    it ends where it was ended; a pruner that is asked about an epoch again has forgotten.
    """
    import optuna

    warnings.filterwarnings("ignore", message="The reported value is ignored")
    dataset = load_dataset(job.paths.prepared)
    trial = optuna.trial.Trial(study.open_study(job.study, job.storage, job.tune), job.trial_id)
    if died := trial.user_attrs.get(study.RUN):
        runs.close(died)
    run = runs.start(job.paths, dataset.name, f"trial {job.number}", kind="trial", parent=job.parent_run)
    trial.set_user_attr(study.RUN, run.run_id)
    pruned = trial.user_attrs.get(study.PRUNED)
    measured: dict[str, float] = {}
    epochs = 0

    def on_epoch(epoch: int, measures: Mapping[str, float]) -> None:
        nonlocal epochs
        epochs = epoch
        run.log_metrics(measures, step=epoch)
        if measures[WATCHED] <= measured.get(WATCHED, float("inf")):
            measured.update(measures)
        diverged = not math.isfinite(measures[WATCHED])
        if not diverged:
            trial.report(measures[WATCHED], step=epoch)
        if diverged or epoch == pruned or trial.should_prune():
            trial.set_user_attr(study.PRUNED, epoch)
            raise optuna.TrialPruned

    started = time.perf_counter()
    with runs.finished(run):
        run.log_params(job.learning.flattened())
        try:
            family = job.learning.model.chosen
            share = replace(dataset, train=subset(dataset, job.tune.train_limit))
            learners.of(family).fit(share, family, job.learning.train, on_epoch)
            loss: float | None = measured[WATCHED]
        except optuna.TrialPruned:
            loss = None
        run.log_metrics({f"best_{name}": value for name, value in measured.items()})
        run.set_tags({"mnistflow.outcome": "pruned" if loss is None else "complete"})
    return TrialResult(job.number, loss, measured, epochs, time.perf_counter() - started, run.run_id)


def subset(dataset: Dataset, limit: int | None) -> Split:
    """Return a seeded share of the training split: the same examples for every trial."""
    train = dataset.train
    if limit is None or limit >= len(train):
        return train
    return train.take(np.random.default_rng(0).permutation(len(train))[:limit])
