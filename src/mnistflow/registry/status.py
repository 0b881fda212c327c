"""The state of things: data, champion, challenger, last run, and what the prediction server says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mnistflow.data import catalog
from mnistflow.data.config import FetchConfig
from mnistflow.errors import ConfigError
from mnistflow.paths import Paths
from mnistflow.registry import publisher, server_client, versions
from mnistflow.registry.publisher import Rollout
from mnistflow.registry.server_client import Served
from mnistflow.registry.versions import Version
from mnistflow.tracking import runs
from mnistflow.tracking.client import mlflow_client


@dataclass(frozen=True)
class VersionState:
    """A registered version in short, as judged on the test split.

    Attributes:
        metric: the task's headline, and `score` its value; `quality` says both.
        accuracy: of a classifier, otherwise None.
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
    """The last retraining."""

    run_id: str
    name: str
    status: str
    started_ms: int


@dataclass(frozen=True)
class Status:
    """The state of one data set's models.

    Attributes:
        previous: what served before the champion.
        serving: number of the version that the model repository names.
        serving_is_whole: whether that version's files are there, as they were written.
        model_repository: folder that servers read.
        rollout: how servers are to try the challenger.
        server: address of the prediction server, as far as it is known.
        served: what it says; None when it does not answer.
    """

    dataset: str
    champion: VersionState | None
    challenger: VersionState | None
    previous: VersionState | None
    last_run: RunState | None
    serving: int | None
    serving_is_whole: bool
    model_repository: str
    rollout: Rollout | None
    server: str | None
    served: Served | None


def current_dataset(paths: Paths, config: FetchConfig) -> str:
    """Return the configured data set, or its fallback when only that one has a champion, or any runs at all."""
    wanted, fallback = config.dataset, config.fallback
    if fallback is None or _has_champion(paths, wanted):
        return wanted
    is_fallback = _has_champion(paths, fallback) or (runs.has_experiment(fallback) and not runs.has_experiment(wanted))
    return fallback if is_fallback else wanted


def choose_dataset(paths: Paths, config: FetchConfig, name: str | None) -> str:
    """Return the data set of that name; without one, the current one.

    Raises:
        ConfigError: there is none of that name, and there was none when a model was made.
    """
    if name is None:
        return current_dataset(paths, config)
    known = {*catalog.entries(), *config.own}
    if name not in known and not runs.has_experiment(name):
        raise ConfigError(f"unknown data set {name!r}", f"Known: {', '.join(sorted(known))}.")
    return name


def read(paths: Paths, dataset: str) -> Status:
    """Gather the state of a data set's models."""
    name = versions.model_name(dataset)
    address = server_client.address(paths)
    serving = publisher.champion(paths, name)
    return Status(
        dataset=dataset,
        champion=_state(versions.holder(name, versions.CHAMPION)),
        challenger=_state(versions.holder(name, versions.CHALLENGER)),
        previous=_state(versions.holder(name, versions.PREVIOUS)),
        last_run=_last_run(paths, dataset),
        serving=serving,
        serving_is_whole=serving is not None and publisher.is_whole(paths, name, serving),
        model_repository=str(paths.models / name),
        rollout=publisher.rollout(paths, name),
        server=address,
        served=server_client.ask(address, name) if address else None,
    )


def lines(status: Status) -> Iterator[tuple[str, str]]:
    """Return the state as pairs of name and text."""
    yield "data set", status.dataset
    for name, version in (("champion", status.champion), ("challenger", status.challenger)):
        if version:
            yield name, f"version {version.version}, {version.quality}, run {version.run_id[:8]}"
            yield "", f"the gate said {version.decision}: {'; '.join(version.reasons)}"
            if name == "champion" and version.history:
                yield "", version.history[-1]
        else:
            fix = f"none yet: `mnistflow retrain -S fetch.dataset={status.dataset}` makes one"
            yield name, fix if name == "champion" else "none"
    if status.previous:
        yield (
            "previous",
            f"version {status.previous.version}, {status.previous.quality}: `mnistflow rollback` lets it serve again",
        )
    if status.last_run:
        yield "last run", f"{status.last_run.name} ({status.last_run.status.lower()}), {status.last_run.run_id[:8]}"
    yield "published", f"version {status.serving} in {status.model_repository}" if status.serving else "nothing yet"
    if status.serving and not status.serving_is_whole:
        yield "", f"its files are missing or damaged: `mnistflow promote {status.serving}` writes them anew"
    if status.rollout:
        yield "rollout", str(status.rollout)
    if status.server:
        yield from _server_lines(status.server, status.served)


def _server_lines(address: str, served: Served | None) -> Iterator[tuple[str, str]]:
    if not served:
        yield "server", f"none answers at {address}: `mnistflow serve` starts one"
        return
    if served.wants_key:
        yield "server", f"{address} wants a key: set {server_client.KEYS_VARIABLE}"
        return
    yield "server", f"{address}, version {served.champion}" if served.champion else f"{address}, serves no version"
    for version, reason in served.refused.items():
        yield "refused", f"version {version}: {reason}"
    if rollout := served.rollout:
        yield "", f"rollout of version {rollout.challenger}: {rollout.state}"
        for role, calls in rollout.calls.items():
            mean = f", {calls.mean_milliseconds} ms on average" if calls.calls else ""
            yield "", f"{role}: {calls.calls:,} calls, {calls.errors:,} without an answer{mean}"
        if rollout.agreement is not None:
            yield "", f"they agree on {rollout.agreement:.2%} of {rollout.compared:,}"


def _has_champion(paths: Paths, dataset: str) -> bool:
    return publisher.champion(paths, versions.model_name(dataset)) is not None


def _state(version: Version | None) -> VersionState | None:
    if version is None:
        return None
    return VersionState(
        version=version.number,
        metric=version.headline.name,
        score=version.score,
        accuracy=version.model_json["metrics"].get("accuracy"),
        quality=version.quality,
        run_id=version.run_id,
        decision=version.decision,
        reasons=version.reasons,
        history=version.history,
    )


def _last_run(paths: Paths, dataset: str) -> RunState | None:
    found = mlflow_client().search_runs(
        [runs.experiment_id(paths, dataset)],
        f"tags.`{runs.KIND}` = 'retrain'",
        max_results=1,
        order_by=["attributes.start_time DESC"],
    )
    return next((RunState(r.info.run_id, r.info.run_name, r.info.status, r.info.start_time) for r in found), None)
