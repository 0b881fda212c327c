"""Lineage of a version: data, code, run, trials, model, decision, and where and since when it served."""

from __future__ import annotations

import html
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from mnistflow import server_client
from mnistflow.checkout import git
from mnistflow.errors import NotReproduced
from mnistflow.paths import Paths
from mnistflow.provenance.run_record import RunRecord
from mnistflow.registry import history, versions
from mnistflow.registry.versions import Version
from mnistflow.tracking import runs
from mnistflow.tracking.origins import Origins

DIGITS = 12  # of hashes in texts


@dataclass(frozen=True)
class Service:
    """A time in which a version was the champion.

    Attributes:
        since: ISO 8601.
        until: ISO 8601; None while it lasts.
        by: who or what made it champion; see `history.Event`.
        who: user and machine; empty if unknown.
        because: the reason; empty if none was given.
    """

    since: str
    until: str | None
    by: str
    who: str
    because: str


@dataclass(frozen=True)
class Lineage:
    """Where a version comes from, and where it went. Steps are mappings of plain values; unknown ones lack keys.

    Attributes:
        name: registered name of the model.
        data: data set, hashes, splits, feedback, and the sources of the raw files; see `record.DATA`.
        code: git commit, and whether it has all of the sources.
        run: id, name, start, user, host, command, seed and machine.
        trials: of the search: their numbers, and the best parameters.
        model: hashes, metrics on the test split, and the registered models that it was trained from.
        decision: of the gate, with its reasons.
        served: times as champion, oldest first.
        servers: addresses of the known prediction servers that answer with it now.
    """

    name: str
    version: int
    data: Mapping[str, Any]
    code: Mapping[str, Any]
    run: Mapping[str, Any]
    trials: Mapping[str, Any]
    model: Mapping[str, Any]
    decision: Mapping[str, Any]
    served: tuple[Service, ...]
    servers: tuple[str, ...]


def trace(paths: Paths, name: str, number: int) -> Lineage:
    """Return the lineage of a version.

    Raises:
        RegistryError: there is no such version, or MLflow does not have its run any more.
    """
    version = versions.find(name, number)
    with tempfile.TemporaryDirectory() as folder:
        record = RunRecord.read(version.run_id, Path(folder))
        return Lineage(
            name=name,
            version=number,
            data=_data(record),
            code=_code(record),
            run=_run(record),
            trials=_trials(record),
            model=_model(record, version),
            decision=_decision(record, version),
            served=services(name, number),
            servers=_servers(paths, name, number),
        )


def services(name: str, number: int) -> tuple[Service, ...]:
    """Return the times in which a version was the champion, oldest first."""
    events = history.events(versions.all_versions(name))
    ends = [*(event.moment for event in events[1:]), None]
    return tuple(
        Service(event.moment, until, event.by, event.who, event.reason)
        for event, until in zip(events, ends, strict=True)
        if event.number == number
    )


def _data(record: RunRecord) -> dict[str, Any]:
    try:
        return dict(record.data)
    except NotReproduced:  # of an earlier release, or the artifact store is gone
        parameters = record.logged.parameters
        return {"name": parameters.get("data.name", ""), "sha256": parameters.get("data.sha256", "")}


def _code(record: RunRecord) -> dict[str, Any]:
    return {"commit": record.commit, "is_committed": git.has_all_sources(record.commit)}


def _run(record: RunRecord) -> dict[str, Any]:
    tags = record.logged.tags
    known = {
        "id": record.run_id,
        "name": record.logged.name,
        "command": record.command,
        "user": tags.get("mlflow.user"),
        "host": tags.get(runs.HOST),
        "seed": record.logged.parameters.get("train.seed"),
        "flow_run": tags.get(runs.FLOW_RUN_URL),
    }
    with suppress(NotReproduced):
        known |= {name: record.environment.get(name) for name in ("cpu", "cores")}
    return {name: value for name, value in known.items() if value}


def _trials(record: RunRecord) -> dict[str, Any]:
    metrics = record.logged.metrics
    found = {
        name: metrics[f"tune.{name}"] for name in ("trials", "pruned", "best_val_loss") if f"tune.{name}" in metrics
    }
    if not found.get("trials"):
        return {"trials": 0}
    try:
        return {**found, "best": record.best_parameters}
    except NotReproduced:
        return found


def _model(record: RunRecord, version: Version) -> dict[str, Any]:
    return {
        "sha256": version.sha256,
        "weights": record.logged.tags.get(runs.WEIGHTS, ""),
        "metrics": {name: value for name, value in record.logged.metrics.items() if name.startswith("test_")},
        "trained_from": _trained_from(record),
        "registered": datetime.fromtimestamp(version.created_ms / 1000, UTC).isoformat(timespec="seconds"),
    }


def _trained_from(record: RunRecord) -> dict[str, Any]:
    """Return the members of an ensemble, the teacher of a distillation, and a warm start: versions, or ids of runs."""
    origins = Origins.of(record.logged.parameters)
    known = {"members": list(origins.members), "teacher": origins.teacher, "warm_start": origins.warm_start}
    return {name: value for name, value in known.items() if value not in ([], None)}


def _decision(record: RunRecord, version: Version) -> dict[str, Any]:
    if not version.verdict_key:
        return {}
    evidence = record.evidence or {}
    champion = evidence.get("champion") or {}
    return {
        "decision": version.decision,
        "reasons": list(version.reasons),
        "decided": evidence.get("decided"),
        "against": champion.get("version"),
        "p_value": champion.get("test", {}).get("p_value"),
    }


def _servers(paths: Paths, name: str, number: int) -> tuple[str, ...]:
    known = server_client.fetch_status(paths, name)
    return tuple(server.address for server in known if server.served and server.served.champion == number)


def lines(graph: Lineage) -> Iterator[tuple[str, str]]:
    """Yield a heading and a text for each step."""
    data = graph.data
    yield "data", f"{data['name']}, sha256 {data['sha256'][:DIGITS]}"
    for source in sorted({source.rpartition("/")[0] for source in data.get("sources", {}).values()}):
        yield "", f"from {source}"
    if data.get("own"):
        yield "", f"from {data['own']}"
    if "splits" in data:
        counts = ", ".join(f"{split['examples']:,} {name}" for name, split in data["splits"].items())
        yield "", f"{counts} examples; {data['feedback']['examples']:,} of the training examples are feedback"
    yield "code", f"commit {graph.code['commit']}{_kept(graph.code)}"
    run = graph.run
    yield "run", f"{run['name']}: {run['id']}, by {run.get('user', '?')}@{run.get('host', '?')}"
    yield "", f"`{run['command']}`, seed {run.get('seed', '?')}, {run.get('cores', '?')} cores of {run.get('cpu', '?')}"
    yield "trials", _search(graph.trials)
    model = graph.model
    yield "model", f"sha256 {model['sha256'][:DIGITS]}, weights {model['weights'][:DIGITS] or 'without digest'}"
    for name, value in model["trained_from"].items():
        yield "", f"from {name} {value}"
    yield "decision", _decided(graph.decision)
    yield "served", "never" if not graph.served else _times(graph.served[0])
    for service in graph.served[1:]:
        yield "", _times(service)
    for address in graph.servers:
        yield "", f"now at {address}"


def mermaid(graph: Lineage) -> str:
    """Return the steps as a flow chart in Mermaid's language, which GitHub, GitLab and MkDocs draw."""
    steps: dict[str, list[str]] = {}
    for heading, text in lines(graph):
        steps.setdefault(heading or list(steps)[-1], []).append(html.escape(text).replace("`", ""))
    boxes = [f'    {name}["<b>{name}</b><br>{"<br>".join(texts)}"]' for name, texts in steps.items()]
    arrows = [f"    {one} --> {following}" for one, following in pairwise(steps)]
    return "\n".join(["flowchart TD", *boxes, *arrows])


def _kept(code: Mapping[str, Any]) -> str:
    return "" if code["is_committed"] else ", which lacks some of the sources: the run keeps them as sources.tar.gz"


def _search(trials: Mapping[str, Any]) -> str:
    if not trials.get("trials"):
        return "none"
    best = ", ".join(f"{name}={value}" for name, value in trials.get("best", {}).items())
    return f"{trials['trials']:.0f}, {trials['pruned']:.0f} of them pruned; best: {best or 'as in params.yaml'}"


def _decided(decision: Mapping[str, Any]) -> str:
    if not decision:
        return "none"
    against = f" against version {decision['against']}" if decision["against"] else ""
    return f"{decision['decision']} at {decision['decided'] or '?'}{against}: {'; '.join(decision['reasons'])}"


def _times(service: Service) -> str:
    until = f"until {service.until}" if service.until else "until now"
    return f"since {service.since} {until}, by {service.by}{f' ({service.who})' if service.who else ''}"
