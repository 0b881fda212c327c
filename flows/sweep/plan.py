"""Plan of a sweep: its families and seeds, the parameters of each run, and the processor cores of each worker."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import psutil

from mnistflow import config, tasks
from mnistflow.config import Config
from mnistflow.data import catalog, fetch
from mnistflow.errors import ConfigError
from mnistflow.models import families as known_families
from mnistflow.paths import Paths
from mnistflow.pipeline import run_names, run_plan
from mnistflow.tracking import runs
from mnistflow.workers import dask_scheduler

logger = logging.getLogger("mnistflow.sweep")

ALL = "all"
SEEDS = ("train.seed", "tune.seed")  # which the names of the runs state
# What no result of a run depends on, besides how a search is executed; the data has a digest of its own.
OTHER_SECTIONS = ("fetch", "gate", "gc", "monitor")
SEARCH_EXECUTION = {"workers", "scheduler", "storage"}
BYTES_PER_RUN = 1_500_000_000  # TensorFlow, the data and the export of one model


@dataclass(frozen=True)
class SweepPlan:
    """Runs of a sweep, and what they share.

    Attributes:
        description: the preset and the overrides except seeds, in short.
        settings: params.yaml with the overrides in place.
        values: overrides and fixed external inputs that all runs share, by dotted key.
        runs: parameters of each run alone, by its name, such as `mlp seed=0`.
        tags: of each run in MLflow, by its name: the command that repeats it, and those of `run_names.tags_of`.
        jobs: runs at a time, at most.
        scheduler: address of the Dask scheduler whose workers execute the runs; None: processes of this machine do.
        cores: processor cores of each process of this machine.
    """

    dataset: str
    description: str
    settings: Config
    values: Mapping[str, Any]
    runs: Mapping[str, Mapping[str, Any]]
    tags: Mapping[str, Mapping[str, str]]
    jobs: int
    scheduler: dask_scheduler.Address | None
    cores: Sequence[set[int]]

    def title(self, name: str) -> str:
        """Return the name of an MLflow run of this sweep: it states the overrides."""
        return f"{name} {self.description}".strip()[: run_names.MAX_NAME_LENGTH]

    def identity(self) -> tuple[object, ...]:
        """Return everything but the data and the code that the results of the runs depend on."""
        exclude: dict[str, Any] = {**dict.fromkeys(OTHER_SECTIONS, True), "tune": SEARCH_EXECUTION}
        return self.runs, self.settings.model_dump(mode="json", exclude=exclude)


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
            logger.info("left out, because they cannot learn from %s: %s", entry.name, ", ".join(unable))
        return [name for name in able if settings.model.parameters_of(name).trainable]
    names = list(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in known:
            raise ConfigError(f"unknown family {name!r}", f"Known: {', '.join(known)}; or {ALL}.")
    return names


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


def make_plan(
    checkout: Paths, families: Sequence[str], overrides: Mapping[str, Any], *, seeds: int, jobs: int | None
) -> SweepPlan:
    """Return the plan of a sweep, with every external input resolved to a fixed value.

    Args:
        families: names of the families.
        overrides: parameters of all runs, by dotted key.
        seeds: runs of each family; the first has the seeds of the parameters, each further one those plus one.
        jobs: runs at a time; None: as many as cores and free memory allow, or as the Dask cluster has workers.

    Raises:
        ConfigError: an override or `DASK_SCHEDULER_ADDRESS` is not valid, or a family cannot learn from the data set.
        MirrorsExhausted: no mirror has the data set, and no fallback is configured.
    """
    if "model.family" in overrides:
        raise ConfigError("override model.family: a sweep sets it itself", "Name the families with --families.")
    base = config.load(checkout.params)
    settings = base.with_values(overrides)
    pinned = fetch.pin(settings.fetch, checkout)
    dataset = pinned.get("fetch.dataset", settings.fetch.dataset)
    if dataset != settings.fetch.dataset:
        logger.warning(fetch.fallback_warning(settings.fetch.dataset, dataset))
    planned = _plan_runs(settings, families, seeds, dataset)
    scheduler = dask_scheduler.find(settings.tune.scheduler)
    cores = [] if scheduler else core_sets(jobs or default_jobs(), len(planned))
    # The trials of a run are executed where the run is: a Dask worker has one core for it.
    workers = 1 if scheduler else min(settings.tune.workers, len(cores[0]))
    return SweepPlan(
        dataset=dataset,
        description=run_names.summarize_overrides(
            base, settings, {key: overrides[key] for key in overrides if key not in SEEDS}
        ),
        settings=settings,
        values={**overrides, **pinned, "tune.workers": workers, "tune.scheduler": None},
        runs=planned,
        tags={name: _tags(base, overrides, {**pinned, **own}) for name, own in planned.items()},
        jobs=jobs or len(planned),
        scheduler=scheduler,
        cores=cores,
    )


def _tags(base: Config, overrides: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, str]:
    """Return the tags of a run in MLflow.

    Args:
        base: params.yaml.
        overrides: of all runs, by dotted key.
        own: parameters of this run, and its fixed external inputs, by dotted key.
    """
    chosen = {**overrides, **{key: own[key] for key in ("model.family", *SEEDS)}}
    return {
        runs.COMMAND: run_plan.command({**overrides, **own}),
        **run_names.tags_of(base, base.with_values(chosen), chosen),
    }


def _plan_runs(settings: Config, families: Sequence[str], seeds: int, dataset: str) -> dict[str, dict[str, Any]]:
    planned = {}
    for family, repeat in product(families, range(seeds)):
        seed = settings.train.seed + repeat
        own = {"model.family": family, "train.seed": seed, "tune.seed": settings.tune.seed + repeat}
        planned[f"{family} seed={seed}"] = own | run_plan.pin_models(settings.with_values(own), dataset)
    return planned
