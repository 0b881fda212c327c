"""Stage tune: a parallel hyperparameter search on the validation split that can be interrupted and resumed.

The main process asks Optuna for hyperparameters and sends them to workers, which report each epoch to the study and
prune their own trials. The study is kept until the search is complete, so a restarted search continues with its trials.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from mnistflow import splits, tasks
from mnistflow.checkout import digests
from mnistflow.errors import StageError
from mnistflow.files import atomic_folder, remove, write_json
from mnistflow.learners.config import LearningConfig
from mnistflow.paths import Paths
from mnistflow.runtime import backend
from mnistflow.tracking import runs
from mnistflow.tuning import study
from mnistflow.tuning.config import Space, TuneConfig
from mnistflow.tuning.progress import TrialTable
from mnistflow.tuning.search import find_workers, run_trials
from mnistflow.tuning.trial import TrialJob, run_trial

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrialRecord:
    """A finished trial, an entry of `trials.json`.

    Attributes:
        number: of the trial, from 0.
        parameters: sampled hyperparameters, by dotted key.
        loss: lowest validation loss; None if the trial was pruned.
        measures: metrics of the epoch with the lowest validation loss.
        epochs: number of epochs trained.
        seconds: duration of the training.
        run_id: id of the trial's MLflow run.
    """

    number: int
    parameters: Mapping[str, Any]
    loss: float | None
    measures: Mapping[str, float]
    epochs: int
    seconds: float
    run_id: str


@dataclass(frozen=True)
class Search:
    """A finished search.

    Attributes:
        trials: in the order of their numbers; empty if no search was configured.
        best: hyperparameters of the trial with the lowest loss, by dotted key; empty without trials.
    """

    trials: tuple[TrialRecord, ...]
    best: Mapping[str, Any]


def tune(paths: Paths, learning: LearningConfig, config: TuneConfig) -> Search:
    """Search the space of the configured family; write `best.json`, `trials.json` and the plots of the study.

    Raises:
        ConfigError: the family does not support the task, or the backend is not installed.
        StageError: no worker is available, workers died repeatedly, or all trials were pruned.
        DataError: the prepared data is missing or damaged.
    """
    data = splits.load(paths.prepared)
    task = tasks.get(data.task)
    learning.model.require_compatible(task, data.input_shape)
    backend.use(learning.train.backend)  # before workers import Keras
    space = config.space.get(learning.model.family, {})
    if not (config.trials and space):
        return _write(paths, [])
    if len(data.validation) < config.min_validation:
        logger.info("no search: only %d validation examples", len(data.validation))
        return _write(paths, [])
    # Workers and storage affect the duration of a search, not its result.
    tune_key = config.model_dump(exclude={"workers", "scheduler", "storage"})
    key = digests.digest(data.data_sha256, learning.model.model_dump(), learning.train.model_dump(), tune_key)
    folder = paths.resume / f"tune-{key}-{digests.code_digest()}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        storage = config.storage or str(folder / "study.journal")
        with runs.stage_run(paths, data.name, "tune") as run:
            opened = study.open_study(folder.name, storage, config)
            metric = f"val_{task.headline.name}"
            try:
                trials = _search(opened, paths, learning, config, space=space, run=run, metric=metric)
            finally:
                # A worker that was killed has left its run open.
                runs.close_dead_runs(data.name)
        search = _write(paths, trials)
        remove(folder)
    return search


def _search(
    opened: optuna.Study,
    paths: Paths,
    learning: LearningConfig,
    config: TuneConfig,
    *,
    space: Space,
    run: runs.Run,
    metric: str,
) -> list[FrozenTrial]:
    """Run the trials that a study still lacks, and return all finished ones."""
    for interrupted_run in study.retry_unfinished(opened):
        runs.close(interrupted_run)
    study.enqueue_defaults(opened, learning, space)
    finished = study.finished(opened)
    _adopt_runs(finished, run)
    missing = config.trials - len(finished)
    if finished:
        logger.info("resuming with %d of %d trials done", len(finished), config.trials)
    if missing > 0:
        workers = find_workers(config.scheduler, min(config.workers, missing), learning.train.threads)
        with workers, TrialTable(config.trials, finished, metric) as table:
            run_trials(
                opened,
                study.distributions(learning, space),
                missing,
                workers,
                make_job=lambda trial: _job(paths, learning, config, trial, run),
                objective=run_trial,
                on_trial=table.add,
            )
    return study.finished(opened)


def _adopt_runs(finished: Sequence[FrozenTrial], run: runs.Run) -> None:
    """Make this run the parent of the runs of trials that finished before an interruption."""
    for trial in finished:
        if runs.exists(trial.user_attrs[study.RUN]):
            runs.resume(trial.user_attrs[study.RUN]).set_tags({runs.PARENT_RUN: run.run_id})


def _job(paths: Paths, learning: LearningConfig, config: TuneConfig, trial: optuna.Trial, run: runs.Run) -> TrialJob:
    sampled = learning.with_values({**study.parameters(trial), **config.overrides})
    return TrialJob(paths, sampled, config.train_limit, trial, run.run_id)


def _write(paths: Paths, trials: Sequence[FrozenTrial]) -> Search:
    search = _summarize(trials) if trials else Search((), {})
    with atomic_folder(paths.reports / "tune") as folder:
        study.draw(folder, trials)
    with atomic_folder(paths.tuned) as folder:
        write_json(folder / "best.json", {"overrides": search.best})
        write_json(folder / "trials.json", [asdict(trial) for trial in search.trials])
    return search


def _summarize(trials: Sequence[FrozenTrial]) -> Search:
    records = tuple(
        TrialRecord(
            number=trial.number,
            parameters=study.parameters(trial),
            **{name: trial.user_attrs[name] for name in ("loss", "measures", "epochs", "seconds", "run_id")},
        )
        for trial in trials
    )
    complete = [record for record in records if record.loss is not None]
    if not complete:
        raise StageError("all trials were pruned, so none is the best", "Raise tune.trials or tune.epochs.")
    return Search(records, min(complete, key=lambda record: record.loss or 0.0).parameters)
