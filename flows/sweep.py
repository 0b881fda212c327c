"""A sweep: model families side by side. A sweep compares models; it registers and promotes none.

A *sweep run* trains one family with one seed in a workspace of its own. Worker processes, each with processor cores of
its own, take one run after another, so that TensorFlow is loaded once a worker. The result of a run is written when the
run is complete: a sweep that was interrupted or killed continues with the runs that are missing. The results of a
family, one a seed, are one row of the table, and in MLflow the children of one run.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from flows import sweep_worker
from flows.sweep_worker import SweepRun
from mnistflow import config, files, lineage, splits, tasks
from mnistflow.config import Config
from mnistflow.data import catalog, fetch
from mnistflow.errors import ConfigError
from mnistflow.models import families as known_families
from mnistflow.paths import Paths
from mnistflow.pipeline import run_plan, stage_runner
from mnistflow.pipeline import workspace as workspaces
from mnistflow.pipeline.pipeline import Pipeline, import_folders
from mnistflow.registry import comparison
from mnistflow.registry.comparison import FamilySummary, Result
from mnistflow.runtime import backend
from mnistflow.tasks.identity import Headline
from mnistflow.tracking import runs
from mnistflow.workers.base import WorkerDied, Workers
from mnistflow.workers.processes import LocalWorkers

logger = logging.getLogger("mnistflow.sweep")

ALL = "all"
SUMMARY = "sweep.json"
SEEDS = ("train.seed", "tune.seed")  # which the names of the runs state
BYTES_PER_RUN = 1_500_000_000  # TensorFlow, the data and the export of one model


@dataclass(frozen=True)
class SweepOutcome:
    """Result of a sweep.

    Attributes:
        overrides: the preset and the parameters that were overridden, in short; empty if there are none.
        metric: the task's headline metric, which ranks the families.
        families: one entry a family, the best first.
        failed: names of runs without a result, with the reasons.
        folder: holds `sweep.json` and `pareto.png`.
    """

    dataset: str
    overrides: str
    metric: str
    run_id: str
    families: tuple[FamilySummary, ...]
    failed: Mapping[str, str]
    folder: Path


@dataclass(frozen=True)
class _Plan:
    """What a sweep will run.

    Attributes:
        description: the preset and the overrides except seeds, in short.
        settings: params.yaml with the overrides in place.
        values: overrides and fixed external inputs that all runs share, by dotted key.
        runs: parameters of each run alone, by its name, such as `mlp seed=0`.
        cores: processor cores of each worker.
    """

    dataset: str
    description: str
    settings: Config
    values: Mapping[str, Any]
    runs: Mapping[str, Mapping[str, Any]]
    cores: Sequence[set[int]]

    def title(self, name: str) -> str:
        """Return the name of an MLflow run of this sweep: it states the overrides."""
        return f"{name} {self.description}".strip()[: run_plan.MAX_NAME_LENGTH]


def choose_families(text: str, settings: Config) -> list[str]:
    """Return the families named by `all`, or by names with commas between them.

    `all` means those with complete parameters that can learn from the data set.

    Raises:
        ConfigError: one of them does not exist.
    """
    known = known_families()
    if text.strip() == ALL:
        entry = catalog.described(settings.fetch.dataset, ())
        able = settings.model.compatible(tasks.get(entry.task), entry.input_shape)
        if unable := [name for name in known if name not in able]:
            logger.info("left out, as they cannot learn from %s: %s", entry.name, ", ".join(unable))
        return [name for name in able if settings.model.parameters_of(name).trainable]
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown family {name!r}", f"Known: {', '.join(known)}; or {ALL}.")
    return names


def sweep(
    checkout: Paths, families: Sequence[str], overrides: Mapping[str, Any], seeds: int = 1, jobs: int | None = None
) -> SweepOutcome:
    """Train each family with these overrides and compare them.

    Args:
        families: names of the families.
        overrides: parameters of all runs, by dotted key.
        seeds: runs of each family; the first has the seeds of the parameters, each further one those plus one.
        jobs: runs at a time; None: as many as cores and free memory allow.

    Raises:
        ConfigError: an override is not valid, or a family cannot learn from the data set.
        MnistflowError: the data set is not available or not valid.
    """
    if "model.family" in overrides:
        raise ConfigError("override model.family: a sweep sets it itself", "Name the families with --families.")
    workspaces.tidy_abandoned(checkout)
    plan = _make_plan(checkout, families, overrides, seeds=seeds, jobs=jobs)
    headline, data_sha256 = _prepare(checkout, plan)
    runs.close_dead_runs(plan.dataset)
    key = (data_sha256, plan.runs, _settings_that_matter(plan.settings), lineage.code_digest())
    folder = checkout.sweeps / lineage.digest(*key)
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        done = _finished(folder, plan)
        if len(done) == len(plan.runs) and (folder / SUMMARY).is_file():
            logger.info("unchanged: every run is done")
            run_id = files.read_json(folder / SUMMARY)["run_id"]
            return _outcome(plan, headline, run_id=run_id, results=done, failed={}, folder=folder)
        if done:
            logger.info("going on with %d of %d runs done", len(done), len(plan.runs))
        try:
            return _run_missing(checkout, plan, headline, done=done, folder=folder)
        finally:
            # A worker that ends between the start of its MLflow run and the block that finishes it leaves it open.
            runs.close_dead_runs(plan.dataset)


def default_jobs() -> int:
    """Return how many runs this machine can execute at a time."""
    return max(1, min(len(os.sched_getaffinity(0)), psutil.virtual_memory().available // BYTES_PER_RUN))


def core_sets(jobs: int, count: int) -> list[set[int]]:
    """Divide the cores of this process between the workers; workers share all cores when there are too few.

    Args:
        jobs: runs at a time.
        count: runs in total.
    """
    cores = sorted(os.sched_getaffinity(0))
    workers = max(1, min(jobs, count))
    return [set(cores[place::workers]) or set(cores) for place in range(workers)]


def _make_plan(
    checkout: Paths, families: Sequence[str], overrides: Mapping[str, Any], *, seeds: int, jobs: int | None
) -> _Plan:
    base = config.load(checkout.params)
    settings = base.with_values(overrides)
    pinned = fetch.pin(settings.fetch, checkout)
    dataset = pinned.get("fetch.dataset", settings.fetch.dataset)
    if dataset != settings.fetch.dataset:
        logger.warning(fetch.fallback_warning(settings.fetch.dataset, dataset))
    planned = _plan_runs(settings, families, seeds, dataset)
    cores = core_sets(jobs or default_jobs(), len(planned))
    return _Plan(
        dataset=dataset,
        description=run_plan.describe(base, settings, {key: overrides[key] for key in overrides if key not in SEEDS}),
        settings=settings,
        values={**overrides, **pinned, "tune.workers": min(settings.tune.workers, len(cores[0]))},
        runs=planned,
        cores=cores,
    )


def _plan_runs(settings: Config, families: Sequence[str], seeds: int, dataset: str) -> dict[str, dict[str, Any]]:
    planned = {}
    for family, repeat in product(families, range(seeds)):
        seed = settings.train.seed + repeat
        own = {"model.family": family, "train.seed": seed, "tune.seed": settings.tune.seed + repeat}
        planned[f"{family} seed={seed}"] = own | run_plan.pin_members(settings.with_values(own), dataset)
    return planned


def _prepare(checkout: Paths, plan: _Plan) -> tuple[Headline, str]:
    """Run the stages that all runs share, once; return the headline metric and the data's sha256."""
    with (
        _temporary_workspace(checkout, plan) as workspace,
        Pipeline(workspace, plan.settings.with_values(plan.values)) as pipeline,
    ):
        for stage in ("fetch", "prepare"):
            pipeline.run(stage)
        data = splits.load(workspace.prepared)
    return tasks.get(data.task).headline, data.data_sha256


def _settings_that_matter(settings: Config) -> dict[str, Any]:
    """Return all settings but those that cannot change the table."""
    return settings.model_dump(
        mode="json", exclude={"fetch": True, "gate": True, "tune": {"workers", "scheduler", "storage"}}
    )


def _finished(folder: Path, plan: _Plan) -> dict[str, Result]:
    """Return the results of finished runs, earlier starts included, that MLflow still has."""
    paths = {name: path for name in plan.runs if (path := _result_file(folder, name)).is_file()}
    results = {name: Result.from_json(files.read_json(path)) for name, path in paths.items()}
    return {name: result for name, result in results.items() if runs.exists(result.run_id)}


def _result_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _run_missing(
    checkout: Paths, plan: _Plan, headline: Headline, *, done: Mapping[str, Result], folder: Path
) -> SweepOutcome:
    """Execute the runs that are not done, and record all of them under a new MLflow run of the sweep."""
    families = {own["model.family"] for own in plan.runs.values()}
    run = runs.start(checkout, plan.dataset, plan.title(f"sweep of {len(families)} families"), kind="sweep")
    with runs.finished(run):
        with _temporary_workspace(checkout, plan) as sources:
            missing = [
                SweepRun(
                    name=name,
                    title=plan.title(name),
                    workspace=workspaces.create(checkout, {**plan.values, **own}),
                    result=_result_file(folder, name),
                    parent_run=run.run_id,
                )
                for name, own in plan.runs.items()
                if name not in done
            ]
            failed = _execute(missing, _start_workers(plan, sources))
        results = _finished(folder, plan)
        outcome = _outcome(plan, headline, run_id=run.run_id, results=results, failed=failed, folder=folder)
        _record(checkout, plan, outcome, headline=headline, run=run)
    return outcome


def _outcome(
    plan: _Plan,
    headline: Headline,
    *,
    run_id: str,
    results: Mapping[str, Result],
    failed: Mapping[str, str],
    folder: Path,
) -> SweepOutcome:
    return SweepOutcome(
        dataset=plan.dataset,
        overrides=plan.description,
        metric=headline.name,
        run_id=run_id,
        families=comparison.rank(results.values(), headline),
        failed=failed,
        folder=folder,
    )


@contextmanager
def _temporary_workspace(checkout: Paths, plan: _Plan) -> Iterator[Paths]:
    """Yield a workspace for the block. Workers import its sources, so editing a file does not change a sweep."""
    workspace = workspaces.create(checkout, plan.values)
    try:
        yield workspace
    finally:
        files.remove(workspace.root)


def _start_workers(plan: _Plan, sources: Paths) -> Workers[SweepRun, str]:
    """Start the workers. They load TensorFlow at once if all stages can run in one process."""
    folders = import_folders(sources)
    if not stage_runner.can_share_a_process(plan.settings.train):
        return LocalWorkers(plan.cores, import_from=folders)
    backend.use(plan.settings.train.backend)
    return LocalWorkers(plan.cores, plan.settings.train.threads, folders)


def _execute(missing: Sequence[SweepRun], workers: Workers[SweepRun, str]) -> dict[str, str]:
    """Execute the runs, one a worker at a time; return the reasons of those that failed."""
    waiting = list(missing)
    running: dict[Future[str], SweepRun] = {}
    failed: dict[str, str] = {}
    with workers:
        while waiting or running:
            while waiting and len(running) < workers.capacity():
                started = waiting.pop(0)
                logger.info("%s: started", started.name)
                running[workers.submit(sweep_worker.run, started)] = started
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                ended = running.pop(future)
                reason = _reason(workers, future)
                if reason:
                    failed[ended.name] = reason
                    logger.warning("%s: %s; its log: %s", ended.name, reason, ended.log)
                else:
                    logger.info("%s: done", ended.name)
    return failed


def _reason(workers: Workers[SweepRun, str], future: Future[str]) -> str:
    """Return why a run has failed; empty if it succeeded."""
    try:
        return workers.result(future)
    except WorkerDied as error:
        return f"{error}: killed, or out of memory"


def _record(checkout: Paths, plan: _Plan, outcome: SweepOutcome, *, headline: Headline, run: runs.Run) -> None:
    """Write the outcome and its plot into the sweep's folder, and log them to MLflow."""
    for family in outcome.families:
        _record_family(checkout, plan, family, metric=outcome.metric, sweep_run=run)
    files.write_json(outcome.folder / SUMMARY, {**asdict(outcome), "folder": str(outcome.folder)})
    run.log_file(outcome.folder / SUMMARY, "sweep")
    run.set_tags({"mnistflow.failed": ", ".join(outcome.failed)} if outcome.failed else {})
    if outcome.families:
        best = outcome.families[0]
        run.log_metrics({f"test_{outcome.metric}": best.score, "families": len(outcome.families)})
        run.set_tags({"mnistflow.best": best.name})
        with files.atomic_write(outcome.folder / "pareto.png") as plot:
            comparison.draw(plot, outcome.families, headline)
        run.log_file(outcome.folder / "pareto.png", "sweep")


def _record_family(checkout: Paths, plan: _Plan, family: FamilySummary, *, metric: str, sweep_run: runs.Run) -> None:
    """Make an MLflow run of a family, and the runs of its seeds the children of it, also those of earlier starts."""
    title = plan.title(family.name)
    run = runs.start(checkout, plan.dataset, title, kind="family", parent=sweep_run.run_id)
    with runs.finished(run):
        run.log_metrics(family.logged(metric))
        for result in family.results:
            runs.resume(result.run_id).set_tags({"mlflow.parentRunId": run.run_id})
