"""Leaderboard: evaluated runs with their versions, their overrides and what they left out, best first."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any

from mnistflow import metric_names
from mnistflow.analysis import pareto
from mnistflow.errors import ConfigError, RegistryError
from mnistflow.registry import versions
from mnistflow.registry.versions import Version
from mnistflow.tasks.identity import Headline
from mnistflow.tracking import runs
from mnistflow.tracking.records import Order, RunQuery, StoredRun
from mnistflow.tracking.store import open_store


@dataclass(frozen=True)
class Row:
    """A run that was evaluated on the test split.

    Attributes:
        version: None when its model is not registered.
        aliases, decision: of the version; empty without one.
        preset: that its parameters are closest to; empty for none.
        overrides: dotted key -> value, of the parameters that differed from params.yaml when the run started.
        partial: what it has less of than a full run: examples or epochs. Its score is no match for those of full runs.
        metric: name of the task's headline metric.
        score: value of the headline metric.
        accuracy: of a classifier, otherwise None.
        errors, loss: None where the task measures no such thing.
        robust: mean of the headline metric under corruptions; None where it was not measured.
        latency_ms: of one input on one thread, median.
        pareto: whether no full run is as good in score, robustness, latency and file size, and better in one of them.
        started: ISO 8601, UTC.
        started_ms: milliseconds since the epoch.
        run: all that the run has logged.
    """

    run_id: str
    name: str
    version: int | None
    aliases: tuple[str, ...]
    decision: str
    family: str
    preset: str
    overrides: Mapping[str, Any]
    partial: tuple[str, ...]
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
    started: str
    started_ms: int
    run: StoredRun = field(repr=False)
    pareto: bool = False

    def value(self, column: str) -> Any:
        """Return an attribute, a metric or a parameter of the run by its name, or `tags.<key>`; None without one."""
        if column in COLUMNS:
            return getattr(self, column)
        if column.startswith("tags."):
            return self.run.tags.get(column.removeprefix("tags."))
        return self.run.metrics.get(column, self.run.parameters.get(column))

    def to_json(self, columns: Sequence[str]) -> dict[str, Any]:
        """Return the values of columns, by their names."""
        return {column: self.value(column) for column in columns}


COLUMNS = tuple(entry.name for entry in fields(Row) if entry.name != "run")


@dataclass(frozen=True)
class Filters:
    """Which runs are ranked.

    Attributes:
        experiment: of MLflow; None for that of the data set.
        family: name of a model family; None for all.
        since_ms: earliest start, in milliseconds since the epoch; None for any.
        tags: values that a run's tags in MLflow must have.
        limit: how many runs are read at most.
    """

    experiment: str | None = None
    family: str | None = None
    since_ms: int | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    limit: int = 1000


def rank(dataset: str, filters: Filters = Filters()) -> list[Row]:
    """Return the evaluated runs of a data set, best first: one query for the runs, one for the versions.

    Raises:
        ConfigError: there is no such experiment.
    """
    if filters.experiment is not None and open_store().experiment_id(filters.experiment) is None:
        raise ConfigError(f"MLflow has no experiment {filters.experiment!r}", "`mnistflow ui` shows the experiments.")
    headline = versions.task_of(dataset).headline
    registered = {version.run_id: version for version in versions.all_versions(versions.model_name(dataset))}
    found = open_store().search_runs(_query(dataset, filters, headline))
    rows = [_row(run, registered.get(run.run_id), headline) for run in found]
    # Killed before its model was registered: the run that goes on from there is evaluated itself.
    whole = [row for row in rows if row.version is not None or row.run.status == "FINISHED"]
    return _with_pareto_front(whole, headline)


def _with_pareto_front(rows: Sequence[Row], headline: Headline) -> list[Row]:
    front = pareto.front({row.run_id: _merits(row, headline) for row in rows if not row.partial})
    return [replace(row, pareto=row.run_id in front) for row in rows]


def _merits(row: Row, headline: Headline) -> tuple[float, ...]:
    """Return score, robustness, latency and file size, each as a number that is larger for a better run."""
    score = row.score if headline.larger_is_better else -row.score
    robust = -math.inf if row.robust is None else row.robust if headline.larger_is_better else -row.robust
    return score, robust, -(math.inf if row.latency_ms is None else row.latency_ms), -row.file_megabytes


@dataclass(frozen=True)
class Limits:
    """What a version to serve has to keep; None for no limit.

    Attributes:
        max_ms: latency of one input on one thread, in milliseconds, as it was measured on the machine of its run.
        max_megabytes: size of the ONNX file.
        min_accuracy, min_robust: shares, 0 to 1; only of classifiers.
    """

    max_ms: float | None = None
    max_megabytes: float | None = None
    min_accuracy: float | None = None
    min_robust: float | None = None

    def keeps(self, row: Row) -> bool:
        """Return whether a run keeps all limits; one without the measurement does not."""
        upper = ((row.latency_ms, self.max_ms), (row.file_megabytes, self.max_megabytes))
        lower = ((row.accuracy, self.min_accuracy), (row.robust, self.min_robust))
        return all(limit is None or (value is not None and value <= limit) for value, limit in upper) and all(
            limit is None or (value is not None and value >= limit) for value, limit in lower
        )


def recommend(rows: Sequence[Row], limits: Limits) -> Row:
    """Return the best registered full run that keeps the limits and that the gate has not rejected.

    Args:
        rows: of `rank`, best first.

    Raises:
        RegistryError: there is none.
    """
    candidates = [row for row in rows if row.version is not None and row.decision != "reject" and not row.partial]
    if not candidates:
        raise RegistryError(
            "no version of a full run is registered, or the gate rejected all of them",
            "`mnistflow retrain` trains one.",
        )
    for row in candidates:
        if limits.keeps(row):
            return row
    raise RegistryError(
        f"none of {len(candidates)} versions is within these limits",
        "`mnistflow leaderboard --columns version,score,robust,latency_ms,file_megabytes,pareto` shows their values.",
    )


def check_columns(columns: Sequence[str], rows: Sequence[Row]) -> None:
    """Check that each column is known or has a value in a row.

    Raises:
        ConfigError: one has not.
    """
    for column in columns:
        if column not in COLUMNS and rows and all(row.value(column) is None for row in rows):
            raise ConfigError(
                f"no run has a column {column!r}",
                f"Known: {', '.join(COLUMNS)}; a metric or parameter as MLflow names it; tags.<key>.",
            )


def _query(dataset: str, filters: Filters, headline: Headline) -> RunQuery:
    score = f"test_{headline.name}"
    # In an experiment of one's own, there may be runs of several data sets.
    of_dataset = {runs.DATASET: dataset} if filters.experiment else {}
    return RunQuery(
        filters.experiment or dataset,
        tags={runs.KIND: "retrain", **of_dataset, **filters.tags},
        parameters={"model.family": filters.family} if filters.family else {},
        since_ms=filters.since_ms,
        measured=score,
        order=(Order(score, descending=headline.larger_is_better), Order("test_loss")),
        limit=filters.limit,
    )


def _row(run: StoredRun, version: Version | None, headline: Headline) -> Row:
    metrics = run.metrics
    return Row(
        run_id=run.run_id,
        name=run.name,
        version=version.number if version else None,
        aliases=version.aliases if version else (),
        decision=version.decision if version else "",
        family=run.parameters.get("model.family", ""),
        preset=run.tags.get(runs.PRESET, ""),
        overrides={key: new for key, (_, new) in json.loads(run.tags.get(runs.OVERRIDES, "{}")).items()},
        partial=tuple(_partial(run)),
        metric=headline.name,
        score=metrics[f"test_{headline.name}"],
        accuracy=metrics.get("test_accuracy"),
        errors=int(metrics["test_errors"]) if "test_errors" in metrics else None,
        loss=metrics.get("test_loss"),
        robust=metrics.get(f"test_robust_{headline.name}"),
        parameters=int(metrics.get(metric_names.PARAMETERS, 0)),
        file_megabytes=metrics.get(metric_names.FILE_MEGABYTES, 0.0),
        latency_ms=metrics.get(metric_names.LATENCY_MS),
        train_seconds=metrics.get(metric_names.TRAIN_SECONDS, 0.0),
        started=datetime.fromtimestamp(run.started_ms / 1000, UTC).isoformat(timespec="seconds"),
        started_ms=run.started_ms,
        run=run,
    )


def _partial(run: StoredRun) -> list[str]:
    limit = run.parameters.get("prepare.train_limit", "None")
    epochs, full = run.parameters.get("train.epochs", ""), run.tags.get(runs.FULL_EPOCHS, "")
    return [
        *([f"train_limit {int(limit):,}"] if limit.isdigit() else []),
        *([f"{epochs} of {full} epochs"] if full else []),
    ]
