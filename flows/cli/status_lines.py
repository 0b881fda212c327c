"""Lines of `mnistflow status`, and of `mnistflow retrain` about the servers after it has published a version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from mnistflow import server_client
from mnistflow.registry.status import Outputs, Status, VersionState
from mnistflow.server_client import ModelStatus, Server


def status_lines(status: Status) -> Iterator[tuple[str, str]]:
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
        yield "outputs", _outputs_text(status.outputs, status.dataset)
    yield from _published_lines(status)
    if status.rollout:
        yield "rollout", str(status.rollout)
    yield from _servers_lines(status)
    yield from _lag_lines(status)


def _outputs_text(outputs: Outputs, dataset: str) -> str:
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
    elif status.champion_problem:
        yield "champion", status.champion_problem
    elif status.serving and status.serving_is_registered:
        yield "champion", "none: MLflow has no alias `champion`"
        yield "", f"version {status.serving} still serves: `mnistflow promote {status.serving}` makes it champion again"
    elif status.serving:
        yield "champion", "none: MLflow has no alias `champion`"
        yield "", f"version {status.serving} still serves, but MLflow has it no longer: `mnistflow promote VERSION`"
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
    if status.serving_is_registered and not status.serving_is_whole:
        fix = "`mnistflow follow --once` writes the champion's" if status.champion else "`mnistflow promote VERSION`"
        yield "", f"its files are missing, damaged or those of another registry: {fix}"


def after_publishing(name: str, champion: int, servers: Sequence[Server]) -> str:
    """Return in one sentence where a version that has just been published is served, or what starts a server.

    Args:
        name: of the model. Its page of a server is named, because `/predict` may be another model's.
        champion: number of the published version.
        servers: the known prediction servers.
    """
    answering = {f"{server.address}/v2/models/{name}": server.served.champion for server in servers if server.served}
    serving = [page for page, served in answering.items() if served == champion]
    if serving:
        return f"Served at {', '.join(serving)}"
    if answering:
        return f"Within seconds, served at {', '.join(answering)}"
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
