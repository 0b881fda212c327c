"""Status of a data set's models: champion, challenger, last run, model repository, prediction servers."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mnistflow import files, server_client
from mnistflow.checkout import stage_outputs
from mnistflow.errors import DataError, RegistryError
from mnistflow.paths import Paths
from mnistflow.registry import rollouts, versions
from mnistflow.registry.repository import publisher
from mnistflow.registry.rollouts import Rollout
from mnistflow.registry.versions import Version
from mnistflow.server_client import Server
from mnistflow.tracking import runs
from mnistflow.tracking.records import RunQuery
from mnistflow.tracking.store import open_store


@dataclass(frozen=True)
class VersionState:
    """Summary of a registered version.

    Attributes:
        metric: name of the task's headline metric.
        score: value of the headline metric on the test split.
        accuracy: of a classifier, otherwise None.
        quality: the formatted score, with the name of the metric.
        decision: of the gate.
        reasons: of that decision.
        history: when and how it became champion, one line each.
    """

    version: int
    metric: str
    score: float
    accuracy: float | None
    quality: str
    run_id: str
    decision: str
    reasons: tuple[str, ...]
    history: tuple[str, ...]


@dataclass(frozen=True)
class RunState:
    """The last retraining.

    Attributes:
        started_ms: milliseconds since the epoch.
        confirmed: when a later retraining found that there is nothing to do beyond this run: ISO 8601, UTC; None
            when there was no such retraining.
    """

    run_id: str
    name: str
    status: str
    started_ms: int
    confirmed: str | None = None


@dataclass(frozen=True)
class Outputs:
    """The evaluation that the stages have left in the checkout.

    Attributes:
        quality: the formatted score, with the name of the metric; None if it is not that of params.yaml and dvc.lock.
        mismatch: why it is not; None if it is.
    """

    dataset: str
    quality: str | None
    mismatch: str | None


@dataclass(frozen=True)
class Status:
    """The state of one data set's models.

    Attributes:
        champion_problem: why the version with the alias `champion` cannot serve, and the fix; empty if it can.
        previous: the version that `mnistflow rollback` returns to.
        outputs: of the stages in the checkout; None when there is no evaluation.
        serving: number of the version that the model repository points to.
        serving_is_registered: whether MLflow still has that version.
        serving_is_whole: whether that version's files are there, as they were written, and not of another registry.
        model_repository: folder that servers read.
        rollout: canary and shadow deployment of a challenger, as the registry has it.
        servers: the known prediction servers, with their own status of the model.
    """

    dataset: str
    champion: VersionState | None
    champion_problem: str
    challenger: VersionState | None
    previous: VersionState | None
    last_run: RunState | None
    outputs: Outputs | None
    serving: int | None
    serving_is_registered: bool
    serving_is_whole: bool
    model_repository: str
    rollout: Rollout | None
    servers: tuple[Server, ...]


def read(paths: Paths, dataset: str) -> Status:
    """Gather the state of a data set's models."""
    name = versions.model_name(dataset)
    serving = publisher.published_champion(paths, name)
    aliased = versions.by_alias(name)
    published = _version(name, serving, aliased)
    return Status(
        dataset=dataset,
        champion=_state(aliased.get(versions.CHAMPION)),
        champion_problem="" if versions.CHAMPION in aliased else _champion_problem(name),
        challenger=_state(aliased.get(versions.CHALLENGER)),
        previous=_state(aliased.get(versions.PREVIOUS)),
        last_run=_last_run(paths, dataset),
        outputs=_outputs(paths, dataset),
        serving=serving,
        serving_is_registered=published is not None,
        serving_is_whole=published is not None and publisher.is_intact(paths, published),
        model_repository=str(paths.models / name),
        rollout=rollouts.read(name),
        servers=server_client.fetch_status(paths, name),
    )


def record_unchanged(paths: Paths, dataset: str, run_id: str) -> None:
    """Record that a retraining has just found nothing to do beyond a run, as it leaves no run of its own behind."""
    path = _unchanged(paths, dataset)
    files.write_json(path, {"run_id": run_id, "time": datetime.now(UTC).isoformat(timespec="seconds")})


def _unchanged(paths: Paths, dataset: str) -> Path:
    return paths.var / "unchanged" / f"{dataset}.json"


def _version(name: str, number: int | None, aliased: Mapping[str, Version]) -> Version | None:
    """Return the version of that number, or None when MLflow does not have it; `aliased` saves the query."""
    found = next((version for version in aliased.values() if version.number == number), None)
    if number and not found:
        with suppress(RegistryError):
            return versions.find(name, number)
    return found


def _champion_problem(name: str) -> str:
    try:
        versions.version_of_alias(name, versions.CHAMPION)
    except RegistryError as error:
        return str(error)
    return ""


def _state(version: Version | None) -> VersionState | None:
    if version is None:
        return None
    return VersionState(
        version=version.number,
        metric=version.headline.name,
        score=version.score,
        accuracy=version.metrics.get("accuracy"),
        quality=version.quality,
        run_id=version.run_id,
        decision=version.decision,
        reasons=version.reasons,
        history=version.history,
    )


def _outputs(paths: Paths, dataset: str) -> Outputs | None:
    if not (paths.root / "dvc.lock").is_file():
        return None  # nothing states whose they are
    try:
        theirs = str(files.read_json(paths.prepared / "dataset.json")["name"])
        metrics = files.read_json(paths.evaluated / "evaluation.json")["metrics"]
        headline = versions.task_of(theirs).headline
        quality = headline.describe(metrics[headline.name])
    except (DataError, KeyError, TypeError):
        return None
    mismatch = stage_outputs.mismatch(paths, "evaluate")
    if not mismatch and theirs != dataset:
        mismatch = f"they are of {theirs}"
    return Outputs(theirs, None if mismatch else quality, mismatch)


def _last_run(paths: Paths, dataset: str) -> RunState | None:
    """Return the newest run, or the older one that a later retraining has confirmed."""
    store = open_store()
    newest = next(iter(store.search_runs(RunQuery(dataset, tags={runs.KIND: "retrain"}, limit=1))), None)
    if newest is None:
        return None
    run, confirmed = newest, None
    try:
        unchanged = files.read_json(_unchanged(paths, dataset))
        time, run_id = datetime.fromisoformat(unchanged["time"]), unchanged["run_id"]
    except (DataError, KeyError, TypeError, ValueError):
        pass
    else:
        # The recorded time has no fraction of a second, so the comparison is one of whole seconds.
        if int(time.timestamp()) >= newest.started_ms // 1000 and (known := store.run(run_id)):
            run, confirmed = known, unchanged["time"]
    return RunState(run.run_id, run.name, run.status, run.started_ms, confirmed)
