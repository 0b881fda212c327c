"""Records of runs and registered versions, queries for them, and the interface of their readers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True)
class StoredRun:
    """A run as MLflow stores it.

    Attributes:
        started_ms: milliseconds since the epoch.
        metrics: the last value of each.
    """

    run_id: str
    experiment_id: str
    name: str
    status: str
    started_ms: int
    parameters: Mapping[str, str]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class StoredModel:
    """A registered model as MLflow stores it.

    Attributes:
        aliases: the version that each points to.
    """

    aliases: Mapping[str, int]
    tags: Mapping[str, str]


@dataclass(frozen=True)
class StoredVersion:
    """A registered version as MLflow stores it; its aliases are those of the model, see `StoredModel`.

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
    """A metric to sort runs by; runs without it come last, after those where it is NaN."""

    metric: str
    descending: bool = False


@dataclass(frozen=True)
class RunQuery:
    """Which runs of an experiment are searched for, and their order. Ties are sorted by their start, newest first.

    Attributes:
        experiment: its name.
        status: such as RUNNING; None for any.
        tags: values that a run's tags must have.
        parameters: values that a run's parameters must have.
        since_ms: earliest start, in milliseconds since the epoch; None for any.
        measured: a metric that a run must have, with a value of at least 0, not NaN; None for no such condition.
        limit: how many runs are returned at most.
    """

    experiment: str
    status: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)
    since_ms: int | None = None
    measured: str | None = None
    order: Sequence[Order] = ()
    limit: int = 1000


class Store(ABC):
    """Reads MLflow's records of runs and registered models."""

    @abstractmethod
    def experiment_id(self, name: str) -> str | None:
        """Return the id of the experiment of that name, or None when there is none."""

    @abstractmethod
    def search_runs(self, query: RunQuery) -> list[StoredRun]:
        """Return the active runs that match a query, in its order; none when the experiment does not exist."""

    @abstractmethod
    def run(self, run_id: str) -> StoredRun | None:
        """Return an active run, or None when it does not exist or was deleted."""

    @abstractmethod
    def model(self, name: str) -> StoredModel | None:
        """Return a registered model, or None when it does not exist."""

    def aliases(self, model: str) -> Mapping[str, int]:
        """Return the version that each alias of a registered model points to; none when the model does not exist."""
        found = self.model(model)
        return found.aliases if found else {}

    @abstractmethod
    def versions(self, model: str) -> list[StoredVersion]:
        """Return all versions of a registered model, newest first; none when the model does not exist."""

    @abstractmethod
    def version(self, model: str, number: int) -> StoredVersion | None:
        """Return one version, or None when it does not exist."""


def filter_of(query: RunQuery) -> str:
    """Return the conditions of a query in the language of MLflow's search."""
    conditions = [f"tags.{_name(key)} = {_text(value)}" for key, value in query.tags.items()]
    conditions += [f"params.{_name(key)} = {_text(value)}" for key, value in query.parameters.items()]
    if query.since_ms is not None:
        conditions.append(f"attributes.start_time >= {query.since_ms}")
    if query.status:
        conditions.append(f"attributes.status = '{query.status}'")
    if query.measured:
        conditions.append(f"metrics.`{query.measured}` >= 0")
    return " and ".join(conditions)


def order_of(query: RunQuery) -> list[str]:
    """Return the sort keys of a query in the language of MLflow's search."""
    return [f"metrics.`{key.metric}` {'DESC' if key.descending else 'ASC'}" for key in query.order]


def _name(key: str) -> str:
    return f'"{key}"' if "`" in key else f"`{key}`"


def _text(value: str) -> str:
    return f'"{value}"' if "'" in value else f"'{value}'"
