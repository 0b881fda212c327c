"""A sweep: model families side by side. A sweep compares models; it registers and promotes none.

A *sweep run* trains one family with one seed in a workspace of its own. Workers take one run after another, so that
TensorFlow is loaded once a worker: processes of this machine, each with processor cores of its own, or those of a Dask
cluster. The result of a run is written when the run is complete: a sweep that was interrupted or killed continues with
the runs that are missing. The results of a family, one a seed, are one row of the table, and in MLflow the children of
one run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from flows.sweep import worker
from flows.sweep.plan import SweepPlan, make_plan
from flows.sweep.worker import SweepRun
from mnistflow import files, splits, tasks
from mnistflow.analysis import comparison
from mnistflow.analysis.comparison import FamilySummary, Result
from mnistflow.checkout import digests
from mnistflow.errors import StageError
from mnistflow.paths import Paths
from mnistflow.pipeline import stage_runner
from mnistflow.pipeline import workspace as workspaces
from mnistflow.pipeline.pipeline import Pipeline, import_folders
from mnistflow.runtime import backend
from mnistflow.stage_names import DATA_STAGES
from mnistflow.tasks.identity import Headline
from mnistflow.tracking import runs
from mnistflow.workers import job_loop
from mnistflow.workers.base import WorkerDied, Workers
from mnistflow.workers.dask import DaskWorkers
from mnistflow.workers.processes import LocalWorkers

logger = logging.getLogger("mnistflow.sweep")

SUMMARY = "sweep.json"


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


def sweep(
    checkout: Paths, families: Sequence[str], overrides: Mapping[str, Any], seeds: int = 1, jobs: int | None = None
) -> SweepOutcome:
    """Train each family with these overrides and compare them.

    Args:
        families: names of the families.
        overrides: parameters of all runs, by dotted key.
        seeds: runs of each family; the first has the seeds of the parameters, each further one those plus one.
        jobs: runs at a time; None: as many as cores and free memory allow, or as the Dask cluster has workers.

    Raises:
        ConfigError: an override is not valid, or a family cannot learn from the data set.
        MnistflowError: the data set is not available or not valid, or the Dask scheduler does not answer.
    """
    workspaces.tidy_abandoned(checkout)
    plan = make_plan(checkout, families, overrides, seeds=seeds, jobs=jobs)
    headline, data_sha256 = _prepare(checkout, plan)
    runs.close_dead_runs(plan.dataset)
    folder = checkout.sweeps / digests.digest(data_sha256, *plan.identity(), digests.code_digest())
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        done = _finished(folder, plan)
        if len(done) == len(plan.runs) and (folder / SUMMARY).is_file():
            logger.info("unchanged: every run is done")
            run_id = files.read_json(folder / SUMMARY, files.DELETE)["run_id"]
            return _outcome(plan, headline, run_id=run_id, results=done, failed={}, folder=folder)
        if done:
            logger.info("continuing with %d of %d runs done", len(done), len(plan.runs))
        try:
            return _run_missing(checkout, plan, headline, done=done, folder=folder)
        finally:
            # A worker that was killed has left its run open.
            runs.close_dead_runs(plan.dataset)


def _prepare(checkout: Paths, plan: SweepPlan) -> tuple[Headline, str]:
    """Run the stages that all runs share, once; return the headline metric and the data's sha256."""
    with (
        _temporary_workspace(checkout, plan) as workspace,
        Pipeline(workspace, plan.settings.with_values(plan.values), stages=DATA_STAGES) as pipeline,
    ):
        for stage in DATA_STAGES:
            pipeline.run(stage)
        data = splits.load(workspace.prepared)
    return tasks.get(data.task).headline, data.data_sha256


def _finished(folder: Path, plan: SweepPlan) -> dict[str, Result]:
    """Return the results of finished runs, earlier starts included, that MLflow still has."""
    paths = {name: path for name in plan.runs if (path := _result_file(folder, name)).is_file()}
    results = {name: Result.from_json(files.read_json(path, files.DELETE)) for name, path in paths.items()}
    return {name: result for name, result in results.items() if runs.exists(result.run_id)}


def _result_file(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _run_missing(
    checkout: Paths, plan: SweepPlan, headline: Headline, *, done: Mapping[str, Result], folder: Path
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
                    tags=plan.tags[name],
                    workspace=workspaces.create(checkout, {**plan.values, **own}),
                    result=_result_file(folder, name),
                    parent_run=run.run_id,
                )
                for name, own in plan.runs.items()
                if name not in done
            ]
            failed = _execute(missing, _start_workers(plan, sources), plan.jobs)
        results = _finished(folder, plan)
        outcome = _outcome(plan, headline, run_id=run.run_id, results=results, failed=failed, folder=folder)
        _record(checkout, plan, outcome, headline=headline, run=run)
    return outcome


def _outcome(
    plan: SweepPlan,
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
def _temporary_workspace(checkout: Paths, plan: SweepPlan) -> Iterator[Paths]:
    """Yield a workspace for the block. Workers import its sources, so editing a file does not change a sweep."""
    workspace = workspaces.create(checkout, plan.values)
    try:
        yield workspace
    finally:
        files.remove(workspace.root)


def _start_workers(plan: SweepPlan, sources: Paths) -> Workers[SweepRun, str]:
    """Start the workers. Those of this machine load TensorFlow at once if all stages can run in one process."""
    if plan.scheduler:
        return DaskWorkers(plan.scheduler, plan.settings.train.threads)
    folders = import_folders(sources)
    if not stage_runner.can_share_a_process(plan.settings.train):
        return LocalWorkers(plan.cores, import_from=folders)
    backend.use(plan.settings.train.backend)
    return LocalWorkers(plan.cores, plan.settings.train.threads, folders)


def _execute(missing: Sequence[SweepRun], workers: Workers[SweepRun, str], jobs: int) -> dict[str, str]:
    """Execute the runs, one a worker and at most `jobs` at a time; return the reasons of those that failed."""
    failed: dict[str, str] = {}

    def started() -> Iterator[SweepRun]:
        for each in missing:
            logger.info("%s: started", each.name)
            yield each

    def finish(ended: SweepRun, result: Callable[[], str]) -> bool:
        if reason := _reason(result):
            failed[ended.name] = reason
            logger.warning("%s: %s; its log: %s", ended.name, reason, ended.log)
        else:
            logger.info("%s: done", ended.name)
        return False

    with workers:
        job_loop.run_jobs(workers, worker.run, started(), on_done=finish, limit=jobs)
    return failed


def _reason(result: Callable[[], str]) -> str:
    """Return why a run has failed; empty if it succeeded."""
    try:
        return result()
    except WorkerDied as error:
        return f"{error}: killed, or out of memory"
    except StageError as error:
        if error.transient:  # no worker is left for the other runs either
            raise
        return error.problem


def _record(checkout: Paths, plan: SweepPlan, outcome: SweepOutcome, *, headline: Headline, run: runs.Run) -> None:
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


def _record_family(
    checkout: Paths, plan: SweepPlan, family: FamilySummary, *, metric: str, sweep_run: runs.Run
) -> None:
    """Make an MLflow run of a family, and the runs of its seeds the children of it, also those of earlier starts."""
    title = plan.title(family.name)
    run = runs.start(checkout, plan.dataset, title, kind="family", parent=sweep_run.run_id)
    with runs.finished(run):
        run.log_metrics(family.logged(metric))
        for result in family.results:
            runs.resume(result.run_id).set_tags({runs.PARENT_RUN: run.run_id})
