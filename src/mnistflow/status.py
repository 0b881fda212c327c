"""The state of things: data, champion, challenger, last run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mnistflow import registry, repository, tracking
from mnistflow.config import Config
from mnistflow.project import Project
from mnistflow.registry import Version


@dataclass(frozen=True)
class VersionState:
    """A registered version in short; `score` is the task's headline metric on the test split, `quality` says it."""

    version: int
    score: float
    quality: str
    run_id: str
    decision: str
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class RunState:
    """The last retraining."""

    run_id: str
    name: str
    status: str
    started_ms: int


@dataclass(frozen=True)
class Status:
    """The state of one data set's models.

    Attributes:
        serving: number of the version that the model repository names.
        model_repository: folder that servers read.
    """

    dataset: str
    champion: VersionState | None
    challenger: VersionState | None
    last_run: RunState | None
    serving: int | None
    model_repository: str


def current_dataset(project: Project, config: Config) -> str:
    """Return the configured data set, or its fallback when only that one has a champion."""
    wanted, fallback = config.fetch.dataset, config.fetch.fallback
    if fallback and not _has_champion(project, wanted) and _has_champion(project, fallback):
        return fallback
    return wanted


def read(project: Project, dataset: str) -> Status:
    """Gather the state of a data set's models."""
    name = registry.model_name(dataset)
    return Status(
        dataset=dataset,
        champion=_state(registry.holder(name, registry.CHAMPION)),
        challenger=_state(registry.holder(name, registry.CHALLENGER)),
        last_run=_last_run(project, dataset),
        serving=repository.champion(project, name),
        model_repository=str(project.models / name),
    )


def lines(status: Status) -> Iterator[tuple[str, str]]:
    """Return the state as pairs of name and text."""
    yield "data set", status.dataset
    for name, version in (("champion", status.champion), ("challenger", status.challenger)):
        if version:
            yield name, f"version {version.version}, {version.quality}, run {version.run_id[:8]}"
            yield "", f"{version.decision}: {'; '.join(version.reasons)}"
        else:
            yield name, "none yet: `mnistflow retrain` makes one" if name == "champion" else "none"
    if status.last_run:
        yield "last run", f"{status.last_run.name} ({status.last_run.status.lower()}), {status.last_run.run_id[:8]}"
    yield "serves", f"version {status.serving} from {status.model_repository}" if status.serving else "nothing yet"


def _has_champion(project: Project, dataset: str) -> bool:
    return repository.champion(project, registry.model_name(dataset)) is not None


def _state(version: Version | None) -> VersionState | None:
    if version is None:
        return None
    return VersionState(
        version.number, version.score, version.quality, version.run_id, version.decision, version.reasons
    )


def _last_run(project: Project, dataset: str) -> RunState | None:
    runs = tracking.client().search_runs(
        [tracking.experiment_id(project, dataset)],
        f"tags.`{tracking.KIND}` = 'retrain'",
        max_results=1,
        order_by=["attributes.start_time DESC"],
    )
    return next((RunState(r.info.run_id, r.info.run_name, r.info.status, r.info.start_time) for r in runs), None)
