"""Store of runs and registered versions, read without importing MLflow where that is possible.

`import mlflow` takes seconds of processor time, several times as long as the queries of a command that only reads.
`open_store` chooses the way by `MLFLOW_TRACKING_URI`: SQLite's file directly, a tracking server by MLflow's REST API,
anything else (PostgreSQL, MySQL, plug-ins, other revisions of the schema) by `MlflowClient`. All give the same records.
"""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

# With one of these, MLflow reads from elsewhere or authenticates in a way that only its own client knows.
_CLIENT_ONLY = (
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_WORKSPACE",
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_AWS_SIGV4",
)


@dataclass(frozen=True)
class StoredRun:
    """A run as MLflow stores it.

    Attributes:
        started_ms: milliseconds since the epoch.
        metrics: the last value of each.
    """

    run_id: str
    name: str
    status: str
    started_ms: int
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class StoredVersion:
    """A registered version as MLflow stores it; its aliases are those of the model, see `Store.aliases`.

    Attributes:
        created_ms: milliseconds since the epoch.
    """

    name: str
    number: int
    run_id: str
    created_ms: int
    tags: Mapping[str, str]


@dataclass(frozen=True)
class Order:
    """A key to sort runs by; runs without the value come last."""

    kind: Literal["metric", "tag"]
    key: str
    descending: bool = False


@dataclass(frozen=True)
class RunQuery:
    """Which runs of an experiment are searched for. Those that compare equal are sorted by their start, newest first.

    Attributes:
        experiment: its name.
        tags: values that a run's tags must have.
        measured: a metric that a run must have, with a value of at least 0; None for no such condition.
        tagged: a tag that a run must have, with any value; None for no such condition.
        limit: how many runs are returned at most.
    """

    experiment: str
    tags: Mapping[str, str] = field(default_factory=dict)
    measured: str | None = None
    tagged: str | None = None
    order: Sequence[Order] = ()
    limit: int = 1000


class Store(ABC):
    """Reads MLflow's records of runs and registered models."""

    @abstractmethod
    def has_experiment(self, name: str) -> bool:
        """Return whether there is an experiment of that name."""

    @abstractmethod
    def search_runs(self, query: RunQuery) -> list[StoredRun]:
        """Return the active runs that match a query, in its order; none when the experiment does not exist."""

    @abstractmethod
    def aliases(self, model: str) -> dict[str, int]:
        """Return the version that each alias of a registered model points to; none when the model does not exist."""

    @abstractmethod
    def versions(self, model: str) -> list[StoredVersion]:
        """Return all versions of a registered model, newest first; none when the model does not exist."""

    @abstractmethod
    def version(self, model: str, number: int) -> StoredVersion | None:
        """Return one version, or None when it does not exist."""


def open_store() -> Store:
    """Return the cheapest reader of the store that `MLFLOW_TRACKING_URI` names."""
    from mnistflow.tracking.sqlite_store import SqliteStore

    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not any(os.environ.get(name) for name in _CLIENT_ONLY):
        path = SqliteStore.file_of(uri)
        if path and SqliteStore.can_read(path):
            return SqliteStore(path)
        if uri.startswith(("http://", "https://")):
            from mnistflow.tracking.rest_store import RestStore

            return RestStore(uri)
    from mnistflow.tracking.client_store import ClientStore

    return ClientStore()


def filter_of(query: RunQuery) -> str:
    """Return the conditions of a query in the language of MLflow's search."""
    conditions = [f"tags.`{key}` = '{value}'" for key, value in query.tags.items()]
    if query.measured:
        conditions.append(f"metrics.`{query.measured}` >= 0")
    if query.tagged:
        conditions.append(f"tags.`{query.tagged}` != ''")
    return " and ".join(conditions)


def order_of(query: RunQuery) -> list[str]:
    """Return the sort keys of a query in the language of MLflow's search."""
    return [f"{key.kind}s.`{key.key}` {'DESC' if key.descending else 'ASC'}" for key in query.order]
