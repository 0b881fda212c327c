"""One trial of a search, run in a worker process."""

from __future__ import annotations

import multiprocessing.connection
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from threading import Thread
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistflow import fitting, tasks, tracking
from mnistflow.config import Config
from mnistflow.data.splits import Dataset, Split
from mnistflow.data.splits import load as load_dataset
from mnistflow.project import Project

if TYPE_CHECKING:
    from optuna.storages import BaseStorage


@dataclass(frozen=True)
class TrialJob:
    """What a worker needs to run one trial; small enough to send anywhere.

    Attributes:
        config: with the trial's hyperparameters in place.
        sampled: those hyperparameters, by dotted key.
        trial_id: of the trial in the study, for reports and pruning.
    """

    project: Project
    config: Config
    sampled: Mapping[str, Any]
    storage: str
    study: str
    number: int
    trial_id: int
    parent_run: str | None


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


def open_storage(url: str) -> BaseStorage:
    """Return an Optuna storage: a database by URL, or a journal by the path of its file."""
    from optuna.storages import JournalStorage, RDBStorage
    from optuna.storages.journal import JournalFileBackend

    if "://" in url:
        return RDBStorage(url)
    return JournalStorage(JournalFileBackend(url))


def prepare_worker(threads: int) -> None:
    """Load what every trial needs, once a process, which ends with the process that started it."""
    import optuna

    Thread(target=_end_with_parent, daemon=True).start()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    fitting.load_tensorflow(threads)


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)


def run_trial(job: TrialJob) -> TrialResult:
    """Fit once with the job's parameters, report each epoch to the study, and stop when it says so."""
    import keras
    import optuna

    keras.backend.clear_session()
    dataset = load_dataset(job.project.prepared)
    task = tasks.get(dataset.task)
    trial = optuna.trial.Trial(optuna.load_study(study_name=job.study, storage=open_storage(job.storage)), job.trial_id)
    run = tracking.start(job.project, dataset.name, f"trial {job.number}", kind="trial", parent=job.parent_run)
    measured: dict[str, float] = {}
    epochs = 0

    def on_epoch(epoch: int, measures: Mapping[str, float]) -> None:
        nonlocal epochs
        epochs = epoch
        run.log_metrics(measures, step=epoch)
        if measures[fitting.WATCHED] <= measured.get(fitting.WATCHED, float("inf")):
            measured.update(measures)
        trial.report(measures[fitting.WATCHED], step=epoch)
        if trial.should_prune():
            raise optuna.TrialPruned

    started = time.perf_counter()
    with tracking.finished(run):
        run.log_params(tracking.parameters(job.config))
        try:
            fitting.fit(
                task,
                task.signature(dataset.input_shape, dataset.classes),
                job.config.model,
                job.config.train,
                subset(dataset, job.config.tune.train_limit),
                dataset.validation,
                on_epoch,
            )
            loss: float | None = measured[fitting.WATCHED]
        except optuna.TrialPruned:
            loss = None
        run.log_metrics({f"best_{name}": value for name, value in measured.items()})
        run.set_tags({"mnistflow.outcome": "pruned" if loss is None else "complete"})
    return TrialResult(job.number, loss, measured, epochs, time.perf_counter() - started, run.run_id)


def subset(dataset: Dataset, limit: int | None) -> Split:
    """Return a seeded share of the training split: the same images for every trial."""
    train = dataset.train
    if limit is None or limit >= len(train):
        return train
    return train.take(np.random.default_rng(0).permutation(len(train))[:limit])
