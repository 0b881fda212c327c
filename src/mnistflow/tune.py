"""Stage tune: a search for hyperparameters on the validation split, in parallel processes, that survives a kill.

This process asks Optuna for parameters and hands them to workers; workers report each epoch to the study and prune
themselves. The study is kept until the search is complete, so a search started again goes on from the trials it has.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Executor, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from mnistflow import lineage, tracking
from mnistflow.config import Choices, Config, Space, TuneConfig
from mnistflow.data import splits
from mnistflow.errors import StageError
from mnistflow.files import atomic_write, remove, write_json
from mnistflow.project import Project
from mnistflow.tasks import pictures
from mnistflow.trial import TrialJob, TrialResult, open_storage, prepare_worker, run_trial
from mnistflow.trial_table import TrialTable

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution

logger = logging.getLogger(__name__)


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


def tune(project: Project, config: Config) -> Search:
    """Search `tune.space` of the chosen family; write `best.json` and `trials.json`.

    Raises:
        StageError: a worker died, or no trial came to an end.
    """
    data = splits.load(project.prepared)
    space = config.tune.space.get(config.model.family, {})
    search = Search((), {})
    if config.tune.trials and space:
        with tracking.stage_run(project, data.name, "tune") as run:
            search = _search(project, config, space, data.data_sha256, run)
    _write(project, search)
    return search


def _search(project: Project, config: Config, space: Space, data_sha256: str, run: tracking.Run) -> Search:
    # Threads, workers and storage change how fast the search is, not what it finds.
    tune_key = config.tune.model_dump(exclude={"workers", "storage"})
    key = lineage.digest(data_sha256, config.model.model_dump(), config.train.model_dump(), tune_key)
    folder = project.resume / f"tune-{key}-{lineage.code_digest()}"
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_suffix(".lock")):
        storage = config.tune.storage or str(folder / "study.journal")
        study = _open_study(folder.name, storage, config.tune)
        _retry_unfinished(study)
        _suggest_defaults(study, config, space)
        _adopt_runs(study, run)
        _run_trials(project, config, space, study, storage, run)
        search = _summarize(study)
        remove(folder)
    return search


def _open_study(name: str, storage: str, config: TuneConfig) -> optuna.Study:
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruners: dict[str, optuna.pruners.BasePruner] = {
        "median": optuna.pruners.MedianPruner(n_startup_trials=3, n_warmup_steps=1),
        "hyperband": optuna.pruners.HyperbandPruner(min_resource=1, max_resource=config.epochs),
        "none": optuna.pruners.NopPruner(),
    }
    sampler = optuna.samplers.TPESampler(
        seed=config.seed, constant_liar=True, n_startup_trials=max(2, min(10, config.trials // 2))
    )
    return optuna.create_study(
        study_name=name,
        storage=open_storage(storage),
        sampler=sampler,
        pruner=pruners[config.pruner],
        direction="minimize",
        load_if_exists=True,
    )


def _retry_unfinished(study: optuna.Study) -> None:
    """Trials that were running when the last start was killed are tried again."""
    from optuna.trial import TrialState

    for trial in study.get_trials(states=(TrialState.RUNNING,)):
        study.tell(trial.number, state=TrialState.FAIL)
        study.enqueue_trial(trial.params)


def _suggest_defaults(study: optuna.Study, config: Config, space: Space) -> None:
    """The first trial has the values of params.yaml, so that a search cannot end below them unnoticed."""
    tree = config.model_dump(mode="json")
    values = {key: _value(tree, key) for key in space}
    if not study.get_trials() and all(space[key].holds(value) for key, value in values.items()):
        study.enqueue_trial({key: _encode(value) for key, value in values.items()})


def _adopt_runs(study: optuna.Study, run: tracking.Run) -> None:
    """Trials finished under a run that was killed belong to this one."""
    for trial in _finished(study):
        tracking.resume(trial.user_attrs["run_id"]).set_tags({"mlflow.parentRunId": run.run_id})


def _run_trials(
    project: Project, config: Config, space: Space, study: optuna.Study, storage: str, run: tracking.Run
) -> None:
    missing = config.tune.trials - len(_finished(study))
    if missing < config.tune.trials:
        logger.info("going on with %d of %d trials done", config.tune.trials - missing, config.tune.trials)
    if missing <= 0:
        return
    workers = min(config.tune.workers, missing)
    running: dict[Future[TrialResult], optuna.Trial] = {}
    with _workers(workers) as executor, TrialTable(config.tune.trials, _finished(study)) as table:
        while missing > 0 or running:
            while missing > 0 and len(running) < workers:
                trial = study.ask(_distributions(space))
                job = _job(project, config, trial, storage, study.study_name, run)
                running[executor.submit(run_trial, job)] = trial
                missing -= 1
            done, _ = wait(running, return_when=FIRST_COMPLETED)
            for future in done:
                table.add(_tell(study, running.pop(future), future))


@contextmanager
def _workers(count: int) -> Iterator[Executor]:
    threads = max(1, (os.cpu_count() or 1) // count)
    # TensorFlow does not survive a fork.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(count, context, initializer=prepare_worker, initargs=(threads,)) as executor:
        try:
            yield executor
        except BaseException:
            executor.shutdown(wait=False, cancel_futures=True)
            raise


def _job(
    project: Project, config: Config, trial: optuna.Trial, storage: str, study: str, run: tracking.Run
) -> TrialJob:
    sampled = {key: _decode(value) for key, value in trial.params.items()}
    return TrialJob(
        project,
        config.with_values({**sampled, "train.epochs": config.tune.epochs}),
        sampled,
        storage,
        study,
        trial.number,
        trial._trial_id,
        run.run_id,
    )


def _tell(study: optuna.Study, trial: optuna.Trial, future: Future[TrialResult]) -> optuna.trial.FrozenTrial:
    from optuna.trial import TrialState

    try:
        result = future.result()
    except BrokenProcessPool as error:
        raise StageError(
            f"a worker process died in trial {trial.number}, most likely for want of memory",
            "Lower tune.workers and start again: the search goes on with its finished trials.",
        ) from error
    for name, value in asdict(result).items():
        trial.set_user_attr(name, value)
    if result.loss is None:
        return study.tell(trial, state=TrialState.PRUNED)
    return study.tell(trial, result.loss)


def _finished(study: optuna.Study) -> list[optuna.trial.FrozenTrial]:
    from optuna.trial import TrialState

    return list(study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED)))


def _summarize(study: optuna.Study) -> Search:
    trials = tuple(
        TrialRecord(
            number=trial.number,
            parameters={key: _decode(value) for key, value in trial.params.items()},
            **{name: trial.user_attrs[name] for name in ("loss", "measures", "epochs", "seconds", "run_id")},
        )
        for trial in _finished(study)
    )
    complete = [trial for trial in trials if trial.loss is not None]
    if not complete:
        raise StageError("every trial was pruned, so there is no best one", "Raise tune.trials or tune.epochs.")
    return Search(trials, min(complete, key=lambda trial: trial.loss or 0.0).parameters)


def _write(project: Project, search: Search) -> None:
    with atomic_write(project.tuned) as folder:
        folder.mkdir()
        write_json(folder / "best.json", {"overrides": search.best})
        write_json(folder / "trials.json", [asdict(trial) for trial in search.trials])
    with atomic_write(project.reports / "tune") as folder:
        folder.mkdir()
        pictures.search(folder / "trials.png", [(trial.number, trial.loss) for trial in search.trials])


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    from optuna.distributions import CategoricalDistribution, FloatDistribution

    return {
        key: CategoricalDistribution([_encode(choice) for choice in entry.choices])
        if isinstance(entry, Choices)
        else FloatDistribution(entry.low, entry.high, log=entry.log)
        for key, entry in space.items()
    }


def _encode(value: Any) -> Any:
    """Optuna's categories are scalars; a list becomes JSON."""
    return json.dumps(value) if isinstance(value, list | tuple) else value


def _decode(value: Any) -> Any:
    return json.loads(value) if isinstance(value, str) and value.startswith("[") else value


def _value(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree[part]
    return tree
