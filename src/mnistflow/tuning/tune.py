"""Stage tune: a search for hyperparameters on the validation split, in parallel, that survives a kill.

This process asks Optuna for parameters and hands them to workers; workers report each epoch to the study and prune
themselves. The study is kept until the search is complete, so a search started again goes on from the trials it has.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from mnistflow import lineage, splits, tasks
from mnistflow.errors import StageError
from mnistflow.files import atomic_write, remove, write_json
from mnistflow.learners.config import LearningConfig
from mnistflow.paths import Paths
from mnistflow.runtime import backend
from mnistflow.tracking import runs
from mnistflow.tuning import study
from mnistflow.tuning.config import Space, TuneConfig
from mnistflow.tuning.progress import TrialTable
from mnistflow.tuning.trial import TrialJob, TrialResult, run_trial
from mnistflow.workers import dask_scheduler
from mnistflow.workers.base import Objective, WorkerDied, Workers
from mnistflow.workers.dask import DaskWorkers
from mnistflow.workers.processes import LocalWorkers

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

logger = logging.getLogger(__name__)

ATTEMPTS = 3  # of a trial whose worker dies
CAPACITY_SECONDS = 5  # how soon new workers are noticed


@dataclass(frozen=True)
class TrialRecord:
    """A finished trial, as it is kept.

    Attributes:
        parameters: what was sampled, by dotted key.
        loss: lowest validation loss; None when pruned.
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
    """All trials of a search, and the best one's parameters (empty when nothing was searched)."""

    trials: tuple[TrialRecord, ...]
    best: Mapping[str, Any]


def tune(paths: Paths, learning: LearningConfig, config: TuneConfig) -> Search:
    """Search `tune.space` of the chosen family; write `best.json`, `trials.json` and the pictures of the study.

    Raises:
        ConfigError: the family cannot learn from such data, or the backend is not installed.
        StageError: no workers, or they died again and again, or no trial came to an end.
    """
    data = splits.load(paths.prepared)
    learning.model.require_able(tasks.get(data.task), data.input_shape)
    backend.use(learning.train.backend)  # what the workers load brings Keras with it
    space = config.space.get(learning.model.family, {})
    if not (config.trials and space):
        return _write(paths, [])
    # Workers, where they are, and the storage change how fast the search is, not what it finds.
    tune_key = config.model_dump(exclude={"workers", "scheduler", "storage"})
    key = lineage.digest(data.data_sha256, learning.model.model_dump(), learning.train.model_dump(), tune_key)
    folder = paths.resume / f"tune-{key}-{lineage.code_digest()}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        storage = config.storage or str(folder / "study.journal")
        with runs.stage_run(paths, data.name, "tune") as run:
            metric = f"val_{tasks.get(data.task).headline.name}"
            trials = _search(paths, learning, config, space, folder.name, storage, run, metric)
        search = _write(paths, trials)
        remove(folder)
    return search


def _search(
    paths: Paths,
    learning: LearningConfig,
    config: TuneConfig,
    space: Space,
    name: str,
    storage: str,
    run: runs.Run,
    metric: str,
) -> list[FrozenTrial]:
    opened = study.open_study(name, storage, config)
    for died in study.retry_unfinished(opened):
        runs.close(died)
    study.suggest_defaults(opened, learning, space)
    done = study.finished(opened)
    _adopt_runs(done, run)
    missing = config.trials - len(done)
    if done:
        logger.info("going on with %d of %d trials done", len(done), config.trials)
    if missing > 0:
        count = min(config.workers, missing)
        workers: Workers[TrialJob, TrialResult] = find_workers(config.scheduler, count, learning.train.threads)
        with workers, TrialTable(config.trials, done, metric) as table:
            run_trials(
                opened,
                space,
                missing,
                workers,
                lambda trial: _job(paths, learning, config, trial, storage, name, run),
                run_trial,
                table.add,
            )
    return study.finished(opened)


def find_workers(configured: dask_scheduler.Address | None, count: int, threads: int) -> Workers[TrialJob, TrialResult]:
    """Return the workers of the Dask scheduler named here or in `DASK_SCHEDULER_ADDRESS`, else `count` processes.

    Args:
        configured: where the scheduler is.
        threads: of TensorFlow's operators in a Dask worker; 0 = as its environment says.

    Raises:
        ConfigError: the variable holds no address.
        StageError: no scheduler answers there.
    """
    if address := dask_scheduler.find(configured):
        return DaskWorkers(address, threads)
    cores = os.sched_getaffinity(0)
    return LocalWorkers([cores] * count, max(1, len(cores) // count))


def _adopt_runs(done: Sequence[FrozenTrial], run: runs.Run) -> None:
    """Trials finished under a run that was killed belong to this one."""
    for trial in done:
        if runs.exists(trial.user_attrs[study.RUN]):
            runs.resume(trial.user_attrs[study.RUN]).set_tags({"mlflow.parentRunId": run.run_id})


def run_trials(
    opened: optuna.Study,
    space: Space,
    missing: int,
    workers: Workers[TrialJob, TrialResult],
    make_job: Callable[[optuna.Trial], TrialJob],
    objective: Objective[TrialJob, TrialResult],
    on_trial: Callable[[FrozenTrial], None],
) -> None:
    """Ask the study for `missing` more trials, let workers run them, and tell it what came of them.

    Raises:
        StageError: no workers, or a trial ended its worker time and again.
    """
    drawn = study.distributions(space)
    running: dict[Future[TrialResult], tuple[optuna.Trial, TrialJob, int]] = {}

    def take(future: Future[TrialResult]) -> None:
        trial, job, attempt = running.pop(future)
        try:
            on_trial(_tell(opened, trial, workers.result(future)))
        except WorkerDied as error:
            if attempt == ATTEMPTS:
                raise _hopeless(trial) from error
            logger.warning("a worker died in trial %d, which is tried again", trial.number)
            running[workers.submit(objective, job)] = trial, job, attempt + 1

    while missing > 0 or running:
        free = workers.capacity() - len(running)
        for _ in range(min(free, missing)):
            trial = opened.ask(drawn)
            job = make_job(trial)
            running[workers.submit(objective, job)] = trial, job, 1
            missing -= 1
        done = wait(running, CAPACITY_SECONDS, FIRST_COMPLETED).done
        # While anything holds the future of a finished trial, Dask runs it again when its worker dies.
        while done:
            take(done.pop())


def _hopeless(trial: optuna.Trial) -> StageError:
    return StageError(
        f"worker processes died {ATTEMPTS} times in trial {trial.number}, most likely for want of memory",
        "Lower tune.workers and start again: the search goes on with its finished trials.",
        transient=False,
    )


def _job(
    paths: Paths,
    learning: LearningConfig,
    config: TuneConfig,
    trial: optuna.Trial,
    storage: str,
    name: str,
    run: runs.Run,
) -> TrialJob:
    sampled = study.parameters(trial)
    return TrialJob(
        paths=paths,
        learning=learning.with_values({**sampled, "train.epochs": config.epochs}),
        tune=config,
        sampled=sampled,
        storage=storage,
        study=name,
        number=trial.number,
        trial_id=trial._trial_id,
        parent_run=run.run_id,
    )


def _tell(opened: optuna.Study, trial: optuna.Trial, result: TrialResult) -> FrozenTrial:
    from optuna.trial import TrialState

    for name, value in asdict(result).items():
        trial.set_user_attr(name, value)
    if result.loss is None:
        return opened.tell(trial, state=TrialState.PRUNED)
    return opened.tell(trial, result.loss)


def _write(paths: Paths, trials: Sequence[FrozenTrial]) -> Search:
    search = _summarize(trials) if trials else Search((), {})
    with atomic_write(paths.reports / "tune") as folder:
        folder.mkdir()
        study.draw(folder, trials)
    with atomic_write(paths.tuned) as folder:
        folder.mkdir()
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
        raise StageError("every trial was pruned, so there is no best one", "Raise tune.trials or tune.epochs.")
    return Search(records, min(complete, key=lambda record: record.loss or 0.0).parameters)
