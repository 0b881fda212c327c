"""A sweep: model families side by side. It compares; it registers nothing and promotes nothing.

A *member* is a family with a seed, run in a workspace of its own. As many worker processes as run at a time, each on
processor cores of its own, take one member after another: what they learn with is loaded once. The *result* of a member
is written when it is whole, so a sweep that was stopped in whatever way goes on with the members that are missing. The
results of a family, one a seed, make a *contender*, which is a row of the table and a run in MLflow above theirs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import psutil
from filelock import FileLock

from flows import sweep_worker
from flows.sweep_worker import Member
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
from mnistflow.registry.comparison import Contender, Result
from mnistflow.runtime import backend
from mnistflow.tasks.identity import Headline
from mnistflow.tracking import runs
from mnistflow.workers.base import WorkerDied, Workers
from mnistflow.workers.processes import LocalWorkers

logger = logging.getLogger("mnistflow.sweep")

ALL = "all"
SUMMARY = "sweep.json"
BYTES_PER_MEMBER = 1_500_000_000  # TensorFlow, the data and the export of one model


@dataclass(frozen=True)
class Sweep:
    """What a sweep came to.

    Attributes:
        metric: that ranks the contenders: the task's headline.
        contenders: best first.
        failed: member -> why it has no result.
        folder: holds `sweep.json` and `pareto.png`.
    """

    dataset: str
    metric: str
    run_id: str
    contenders: tuple[Contender, ...]
    failed: Mapping[str, str]
    folder: Path


def choose_families(text: str, settings: Config) -> list[str]:
    """Turn `all`, or names with commas between them, into families.

    `all` are those with complete parameters that can learn from the data set.

    Raises:
        ConfigError: one of them does not exist.
    """
    known = known_families()
    if text.strip() == ALL:
        entry = catalog.described(settings.fetch.dataset, ())
        able = settings.model.able(tasks.get(entry.task), entry.input_shape)
        if unable := [name for name in known if name not in able]:
            logger.info("left out, as they cannot learn from %s: %s", entry.name, ", ".join(unable))
        return [name for name in able if settings.model.parameters_of(name).complete]
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown family {name!r}", f"Known: {', '.join(known)}; or {ALL}.")
    return names


def sweep(
    home: Paths, families: Sequence[str], overrides: Mapping[str, Any], seeds: int = 1, jobs: int | None = None
) -> Sweep:
    """Run each family with these overrides and compare them.

    Args:
        overrides: parameters of all members, by dotted key.
        seeds: runs of each family; the first has the seeds of the parameters, each further one those plus one.
        jobs: members at a time; None: as many as cores and free memory allow.

    Raises:
        MnistflowError: what all members need, the data or an override, is not there or not valid.
    """
    if "model.family" in overrides:
        raise ConfigError("override model.family: a sweep sets it itself", "Name the families with --families.")
    settings = config.load(home.params).with_values(overrides)
    pinned = fetch.pin(settings.fetch, home)
    dataset = pinned.get("fetch.dataset", settings.fetch.dataset)
    if dataset != settings.fetch.dataset:
        logger.warning(fetch.fallback_warning(settings.fetch.dataset, dataset))
    plan = _plan(settings, families, seeds, dataset)
    slots = core_sets(jobs or default_jobs(), len(plan))
    values = {**overrides, **pinned, "tune.workers": min(settings.tune.workers, len(slots[0]))}
    headline, data_sha256 = _prepare(home, settings, values)
    runs.close_dead_runs(home, dataset)
    folder = home.sweeps / lineage.digest(data_sha256, plan, _what_matters(settings), lineage.code_digest())
    folder.mkdir(parents=True, exist_ok=True)
    with FileLock(folder / ".lock"):
        done = _finished(folder, plan)
        if len(done) == len(plan) and (folder / SUMMARY).is_file():
            logger.info("unchanged: every member is done")
            run_id = files.read_json(folder / SUMMARY)["run_id"]
            return Sweep(dataset, headline.name, run_id, comparison.rank(done.values(), headline), {}, folder)
        if done:
            logger.info("going on with %d of %d members done", len(done), len(plan))
        run = runs.start(home, dataset, f"sweep of {len(families)} families", kind="sweep")
        try:
            with runs.finished(run):
                with _copied_sources(home, values) as sources:
                    missing = [
                        _member(home, folder, name, values | own, run) for name, own in plan.items() if name not in done
                    ]
                    failed = _run(missing, _workers(settings, slots, sources))
                contenders = comparison.rank(_finished(folder, plan).values(), headline)
                result = Sweep(dataset, headline.name, run.run_id, contenders, failed, folder)
                _record(home, result, headline, run)
        finally:
            # A worker that ends between the start of its run and its first word there leaves it open.
            runs.close_dead_runs(home, dataset)
    return result


def default_jobs() -> int:
    """Return how many members this machine bears at a time."""
    return max(1, min(len(os.sched_getaffinity(0)), psutil.virtual_memory().available // BYTES_PER_MEMBER))


def core_sets(jobs: int, members: int) -> list[set[int]]:
    """Deal the cores of this process out to as many members as run at a time; all share them when they are fewer."""
    cores = sorted(os.sched_getaffinity(0))
    count = max(1, min(jobs, members))
    return [set(cores[place::count]) or set(cores) for place in range(count)]


def _plan(settings: Config, families: Sequence[str], seeds: int, dataset: str) -> dict[str, dict[str, Any]]:
    """Return the parameters of its own of each member, by its name."""
    plan = {}
    for family, repeat in product(families, range(seeds)):
        seed = settings.train.seed + repeat
        own = {"model.family": family, "train.seed": seed, "tune.seed": settings.tune.seed + repeat}
        plan[f"{family} seed={seed}"] = own | run_plan.pin_members(settings.with_values(own), dataset)
    return plan


def _prepare(home: Paths, settings: Config, values: Mapping[str, Any]) -> tuple[Headline, str]:
    """Make once what every member would make; return the headline metric and the data's digest."""
    workspace = workspaces.create(home, values)
    try:
        with Pipeline(workspace, settings.with_values(values)) as pipeline:
            for stage in ("fetch", "prepare"):
                pipeline.run(stage)
        data = splits.load(workspace.prepared)
    finally:
        files.remove(workspace.root)
    return tasks.get(data.task).headline, data.data_sha256


def _what_matters(settings: Config) -> dict[str, Any]:
    """All settings but those that change nothing in the rows."""
    return settings.model_dump(
        mode="json", exclude={"fetch": True, "gate": True, "tune": {"workers", "scheduler", "storage"}}
    )


def _finished(folder: Path, names: Iterable[str]) -> dict[str, Result]:
    """Return what members have finished, in earlier starts too, as far as MLflow still knows it."""
    files_there = {name: path for name in names if (path := _result_file(folder, name)).is_file()}
    results = {name: Result.from_json(files.read_json(path)) for name, path in files_there.items()}
    return {name: result for name, result in results.items() if runs.exists(result.run_id)}


def _result_file(folder: Path, member_name: str) -> Path:
    return folder / f"{member_name}.json"


def _record(home: Paths, result: Sweep, headline: Headline, run: runs.Run) -> None:
    """Write the result and its picture into the sweep's folder, and log them to its run and those of the contenders."""
    for contender in result.contenders:
        _record_contender(home, result, contender)
    files.write_json(result.folder / SUMMARY, {**asdict(result), "folder": str(result.folder)})
    run.log_file(result.folder / SUMMARY, "sweep")
    run.set_tags({"mnistflow.failed": ", ".join(result.failed)} if result.failed else {})
    if result.contenders:
        best = result.contenders[0]
        run.log_metrics({f"test_{result.metric}": best.score, "families": len(result.contenders)})
        run.set_tags({"mnistflow.best": best.name})
        with files.atomic_write(result.folder / "pareto.png") as picture:
            comparison.draw(picture, result.contenders, headline)
        run.log_file(result.folder / "pareto.png", "sweep")


def _record_contender(home: Paths, result: Sweep, contender: Contender) -> None:
    """Give the runs of a family one above them; some of them may have been made under a sweep that was stopped."""
    run = runs.start(home, result.dataset, contender.name, kind="contender", parent=result.run_id)
    with runs.finished(run):
        run.log_metrics(contender.logged(result.metric))
        for one in contender.results:
            runs.resume(one.run_id).set_tags({"mlflow.parentRunId": run.run_id})


def _member(home: Paths, folder: Path, name: str, values: Mapping[str, Any], run: runs.Run) -> Member:
    return Member(name, workspaces.create(home, values), _result_file(folder, name), run.run_id)


@contextmanager
def _copied_sources(home: Paths, values: Mapping[str, Any]) -> Iterator[Paths]:
    """Let workers import a copy of the sources: editing a file does not change a sweep that is under way."""
    workspace = workspaces.create(home, values)
    try:
        yield workspace
    finally:
        files.remove(workspace.root)


def _workers(settings: Config, slots: Sequence[set[int]], sources: Paths) -> Workers[Member, str]:
    """Return a worker for each slot, which runs the stages itself as far as they can share a process."""
    folders = import_folders(sources)
    if not stage_runner.can_share_a_process(settings.train):
        return LocalWorkers(slots, import_from=folders)
    backend.use(settings.train.backend)
    return LocalWorkers(slots, settings.train.threads, folders)


def _run(members: Sequence[Member], workers: Workers[Member, str]) -> dict[str, str]:
    """Run the members, one a slot at a time; return why those that failed did."""
    waiting = list(members)
    running: dict[Future[str], Member] = {}
    failed: dict[str, str] = {}
    with workers:
        while waiting or running:
            while waiting and len(running) < workers.capacity():
                started = waiting.pop(0)
                logger.info("%s: started", started.name)
                running[workers.submit(sweep_worker.run, started)] = started
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                ended = running.pop(future)
                reason = _result(workers, future)
                if reason:
                    failed[ended.name] = reason
                    logger.warning("%s: %s; its log: %s", ended.name, reason, ended.log)
                else:
                    logger.info("%s: done", ended.name)
    return failed


def _result(workers: Workers[Member, str], future: Future[str]) -> str:
    try:
        return workers.result(future)
    except WorkerDied:
        return "its process was ended from outside, or crashed"
