"""Runs and versions, best first."""

from __future__ import annotations

from dataclasses import dataclass

from mnistflow.paths import Paths
from mnistflow.registry import versions
from mnistflow.tracking import runs
from mnistflow.tracking.client import mlflow_client


@dataclass(frozen=True)
class Row:
    """A run that was evaluated on the test split; `version` and `aliases` when its model is registered.

    Attributes:
        metric: the task's headline, and `score` its value.
        accuracy: of a classifier, otherwise None.
        errors, loss: None where the task measures no such thing.
        robust: mean of the headline metric under corruptions; None where it was not measured.
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


def rank(paths: Paths, dataset: str, limit: int = 1000) -> list[Row]:
    """Return the evaluated runs of a data set, best first: one query for the runs, one for the versions."""
    headline = versions.task_of(dataset).headline
    registered = {version.run_id: version for version in versions.all_versions(versions.model_name(dataset))}
    found = mlflow_client().search_runs(
        [runs.experiment_id(paths, dataset)],
        f"tags.`{runs.KIND}` = 'retrain' and metrics.test_{headline.name} >= 0",
        max_results=limit,
        order_by=[
            f"metrics.test_{headline.name} {'DESC' if headline.larger_is_better else 'ASC'}",
            "metrics.test_loss ASC",
        ],
    )
    rows = []
    for run in found:
        metrics, version = run.data.metrics, registered.get(run.info.run_id)
        if version is None and run.info.status != "FINISHED":
            continue  # killed before its model was registered: whatever was measured is measured again
        rows.append(
            Row(
                run_id=run.info.run_id,
                name=run.info.run_name,
                version=version.number if version else None,
                aliases=version.aliases if version else (),
                decision=version.decision if version else "",
                family=run.data.params.get("model.family", ""),
                metric=headline.name,
                score=metrics[f"test_{headline.name}"],
                accuracy=metrics.get("test_accuracy"),
                errors=int(metrics["test_errors"]) if "test_errors" in metrics else None,
                loss=metrics.get("test_loss"),
                robust=metrics.get(f"test_robust_{headline.name}"),
                parameters=int(metrics.get("parameters", 0)),
                file_megabytes=metrics.get("file_megabytes", 0.0),
                latency_ms=metrics.get("latency_ms_batch_1"),
                train_seconds=metrics.get("train_seconds", 0.0),
                started_ms=run.info.start_time,
            )
        )
    return rows
