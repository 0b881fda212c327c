"""Leaderboard: evaluated runs with their versions, best first."""

from __future__ import annotations

from dataclasses import dataclass

from mnistflow.registry import versions
from mnistflow.tracking import runs
from mnistflow.tracking.records import Order, RunQuery
from mnistflow.tracking.store import open_store


@dataclass(frozen=True)
class Row:
    """A run that was evaluated on the test split.

    Attributes:
        version: None when its model is not registered.
        aliases, decision: of the version; empty without one.
        metric: name of the task's headline metric.
        score: value of the headline metric.
        accuracy: of a classifier, otherwise None.
        errors, loss: None where the task measures no such thing.
        robust: mean of the headline metric under corruptions; None where it was not measured.
        latency_ms: of one input on one thread, median.
        started_ms: milliseconds since the epoch.
    """

    run_id: str
    name: str
    version: int | None
    aliases: tuple[str, ...]
    decision: str
    family: str
    metric: str
    score: float
    accuracy: float | None
    errors: int | None
    loss: float | None
    robust: float | None
    parameters: int
    file_megabytes: float
    latency_ms: float | None
    train_seconds: float
    started_ms: int


def rank(dataset: str, limit: int = 1000) -> list[Row]:
    """Return the evaluated runs of a data set, best first: one query for the runs, one for the versions.

    Args:
        limit: how many runs are read at most.
    """
    headline = versions.task_of(dataset).headline
    registered = {version.run_id: version for version in versions.all_versions(versions.model_name(dataset))}
    score = f"test_{headline.name}"
    found = open_store().search_runs(
        RunQuery(
            dataset,
            tags={runs.KIND: "retrain"},
            measured=score,
            order=(Order(score, descending=headline.larger_is_better), Order("test_loss")),
            limit=limit,
        )
    )
    rows = []
    for run in found:
        metrics, version = run.metrics, registered.get(run.run_id)
        if version is None and run.status != "FINISHED":
            continue  # killed before its model was registered: the run that goes on from there is evaluated itself
        rows.append(
            Row(
                run_id=run.run_id,
                name=run.name,
                version=version.number if version else None,
                aliases=version.aliases if version else (),
                decision=version.decision if version else "",
                family=run.parameters.get("model.family", ""),
                metric=headline.name,
                score=metrics[score],
                accuracy=metrics.get("test_accuracy"),
                errors=int(metrics["test_errors"]) if "test_errors" in metrics else None,
                loss=metrics.get("test_loss"),
                robust=metrics.get(f"test_robust_{headline.name}"),
                parameters=int(metrics.get("parameters", 0)),
                file_megabytes=metrics.get("file_megabytes", 0.0),
                latency_ms=metrics.get("latency_ms_batch_1"),
                train_seconds=metrics.get("train_seconds", 0.0),
                started_ms=run.started_ms,
            )
        )
    return rows
