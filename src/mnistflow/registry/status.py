"""Status of a data set's models: champion, challenger, last run, model repository, prediction servers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mnistflow import files
from mnistflow.checkout import stage_outputs
from mnistflow.errors import DataError, RegistryError
from mnistflow.paths import Paths
from mnistflow.registry import publisher, rollouts, server_client, versions
from mnistflow.registry.publisher import Rollout
from mnistflow.registry.server_client import ModelStatus, Server
from mnistflow.registry.versions import Version
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
        previous: the version that `mnistflow rollback` returns to.
        outputs: of the stages in the checkout; None when there is no evaluation.
        serving: number of the version that the model repository points to.
        serving_is_whole: whether that version's files are there, as they were written, and not of another registry.
        model_repository: folder that servers read.
        rollout: canary and shadow deployment of a challenger, as the registry has it.
        servers: the known prediction servers, with their own status of the model.
    """

    dataset: str
    champion: VersionState | None
    challenger: VersionState | None
    previous: VersionState | None
    last_run: RunState | None
    outputs: Outputs | None
    serving: int | None
    serving_is_whole: bool
    model_repository: str
    rollout: Rollout | None
    servers: tuple[Server, ...]


def read(paths: Paths, dataset: str) -> Status:
    """Gather the state of a data set's models."""
    name = versions.model_name(dataset)
    serving = publisher.published_champion(paths, name)
    aliased = versions.by_alias(name)
    published = next((version for version in aliased.values() if version.number == serving), None)
    if serving and not published:
        with suppress(RegistryError):
            published = versions.find(name, serving)
    return Status(
        dataset=dataset,
        champion=_state(aliased.get(versions.CHAMPION)),
        challenger=_state(aliased.get(versions.CHALLENGER)),
        previous=_state(aliased.get(versions.PREVIOUS)),
        last_run=_last_run(paths, dataset),
        outputs=_outputs(paths, dataset),
        serving=serving,
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


def lines(status: Status) -> Iterator[tuple[str, str]]:
    """Return the status as pairs of label and text; an empty label continues the line above."""
    yield "data set", status.dataset
    yield from _champion_lines(status)
    yield from _version_lines("challenger", status.challenger) if status.challenger else [("challenger", "none")]
    if status.previous:
        yield (
            "previous",
            f"version {status.previous.version}, {status.previous.quality}: `mnistflow rollback` returns to it",
        )
    if status.last_run:
        run = status.last_run
        yield "last run", f"{run.name} ({run.status.lower()}), {run.run_id[:8]}"
        if run.confirmed:
            yield "", f"a retraining at {run.confirmed} found nothing to do"
    if status.outputs:
        yield "outputs", _described(status.outputs, status.dataset)
    yield from _published_lines(status)
    if status.rollout:
        yield "rollout", str(status.rollout)
    yield from _servers_lines(status)
    yield from _lag_lines(status)


def _described(outputs: Outputs, dataset: str) -> str:
    if outputs.mismatch and outputs.dataset != dataset:
        return f"none of {dataset}: {outputs.mismatch}"
    if outputs.mismatch:
        return f"inconsistent: {outputs.mismatch}; `mnistflow retrain` replaces them"
    return f"{outputs.dataset}, {outputs.quality}, of params.yaml and dvc.lock"


def _champion_lines(status: Status) -> Iterator[tuple[str, str]]:
    if status.champion:
        yield from _version_lines("champion", status.champion)
        if status.champion.history:
            yield "", _without_reason(status.champion)
    elif status.serving:
        yield "champion", "none: MLflow has no alias `champion`"
        yield "", f"version {status.serving} still serves: `mnistflow promote {status.serving}` makes it champion again"
    else:
        yield "champion", f"none yet: `mnistflow retrain` with fetch.dataset={status.dataset} trains one"


def _without_reason(champion: VersionState) -> str:
    """Return the last line of the history, without the reason of the gate: the line before has it."""
    reason = " ".join("; ".join(champion.reasons).split())
    return champion.history[-1].removesuffix(f": {reason}")


def _version_lines(label: str, version: VersionState) -> Iterator[tuple[str, str]]:
    yield label, f"version {version.version}, {version.quality}, run {version.run_id[:8]}"
    yield "", f"gate: {version.decision}: {'; '.join(version.reasons)}"


def _published_lines(status: Status) -> Iterator[tuple[str, str]]:
    yield "published", f"version {status.serving} in {status.model_repository}" if status.serving else "nothing yet"
    if status.serving and not status.serving_is_whole:
        fix = "`mnistflow follow --once` writes the champion's" if status.champion else "`mnistflow promote VERSION`"
        yield "", f"its files are missing, damaged or those of another registry: {fix}"


def after_publishing(name: str, champion: int, servers: Sequence[Server]) -> str:
    """Return in one sentence where a version that has just been published is served, or what starts a server.

    Args:
        name: of the model. Its page of a server is named, because `/predict` may be another model's.
        champion: number of the published version.
        servers: the known prediction servers.
    """
    serving = [server for server in servers if server.served and server.served.champion == champion]
    following = [server for server in servers if server.served and server not in serving]
    if serving:
        return f"Served at {', '.join(f'{server.address}/v2/models/{name}' for server in serving)}"
    if following:
        return f"Within seconds, served at {', '.join(f'{server.address}/v2/models/{name}' for server in following)}"
    if servers:
        return f"No answer yet from {', '.join(server.address for server in servers)}"
    return "Next: make up"


def _lag_lines(status: Status) -> Iterator[tuple[str, str]]:
    """Yield one line if the repository, or a server that answers, has not followed the registry's champion."""
    if not status.champion:
        return
    champion, behind = status.champion.version, []
    if status.serving != champion:
        behind.append(f"version {status.serving} is published here" if status.serving else "nothing is published here")
    for server in status.servers:
        if server.served and server.served.champion not in (champion, None):
            behind.append(f"{server.address} answers with {server.served.champion}")
    if not behind:
        return
    if status.serving != champion:
        fix = "`mnistflow follow --once` publishes it here, and servers follow within seconds"
    else:
        fix = "a server follows its repository within seconds, and another machine's by `mnistflow follow` there"
    yield "lags", f"the champion is version {champion}, but {' and '.join(behind)}: {fix}"


def _servers_lines(status: Status) -> Iterator[tuple[str, str]]:
    if status.serving and not status.servers:
        yield "server", "none started from this checkout is running: `mnistflow serve` starts one"
    silent = [server.address for server in status.servers if server.served is None]
    for server in status.servers:
        if server.served:
            yield from _server_lines(server.address, server.served)
    if silent:
        waits = "" if status.serving else ": a server waits for the first model"
        yield "server", f"no answer from {', '.join(silent)}{waits}"


def _server_lines(address: str, served: ModelStatus) -> Iterator[tuple[str, str]]:
    if served.wants_key:
        yield "server", f"{address} requires a key: set {server_client.KEYS_VARIABLE}"
        return
    yield "server", f"{address}, version {served.champion}" if served.champion else f"{address}, serves no version"
    for version, reason in served.refused.items():
        yield "refused", f"version {version}: {reason}"
    if rollout := served.rollout:
        yield "", f"rollout of version {rollout.challenger}: {rollout.state}"
        for role, calls in rollout.calls.items():
            mean = f", {calls.mean_milliseconds} ms on average" if calls.calls else ""
            yield "", f"{role}: {calls.calls:,} calls, {calls.errors:,} failed{mean}"
        if rollout.agreement is not None:
            yield "", f"both predict the same class for {rollout.agreement:.2%} of {rollout.compared:,}"


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
