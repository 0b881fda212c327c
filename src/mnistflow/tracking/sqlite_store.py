"""Store read from MLflow's SQLite file, with the standard library alone."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mnistflow.tracking.records import RunQuery, Store, StoredModel, StoredRun, StoredVersion

# Revision of the schema of MLflow 3.17, the locked one: `alembic_version` of a store that it has made or upgraded.
REVISION = "dc11669786a5"
BUSY_SECONDS = 30
_PREFIX = "sqlite:///"
_WORKSPACE = "default"
_RUNS = "select r.run_uuid, r.experiment_id, r.name, r.status, r.start_time from runs r"
_BATCH = 500  # SQLite allows 999 variables in a statement of older builds


class SqliteStore(Store):
    """Reads MLflow's tables; writes nothing, and creates nothing when the file is not there.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    @staticmethod
    def file_of(uri: str) -> Path | None:
        """Return the file that a tracking URI names; None when it names none that can be read directly."""
        path = uri.removeprefix(_PREFIX)
        return None if path == uri or not path or path == ":memory:" or "?" in path else Path(path)

    @staticmethod
    def can_read(path: Path) -> bool:
        """Return whether the file has the known schema, or does not exist yet."""
        if not path.exists():
            return True
        try:
            with _connected(path) as connection:
                return connection.execute("select version_num from alembic_version").fetchall() == [(REVISION,)]
        except sqlite3.Error:
            return False

    def experiment_id(self, name: str) -> str | None:
        found = self._query(
            "select experiment_id from experiments where workspace = ? and name = ?", (_WORKSPACE, name)
        )
        return str(found[0][0]) if found else None

    def search_runs(self, query: RunQuery) -> list[StoredRun]:
        experiment = self.experiment_id(query.experiment)
        if experiment is None:
            return []
        return self._runs(*_search(query, experiment))

    def run(self, run_id: str) -> StoredRun | None:
        return next(iter(self._runs(f"{_RUNS} where run_uuid = ? and lifecycle_stage = 'active'", [run_id])), None)

    def _runs(self, statement: str, values: Sequence[object]) -> list[StoredRun]:
        found = self._query(statement, values)
        ids = [row[0] for row in found]
        parameters = self._of_runs("select run_uuid, key, value from params", ids)
        tags = self._of_runs("select run_uuid, key, value from tags", ids)
        metrics = self._of_runs(
            "select run_uuid, key, case when is_nan then 'nan' else value end from latest_metrics", ids
        )
        return [
            StoredRun(
                run_id=run_id,
                experiment_id=str(experiment),
                name=name,
                status=status,
                started_ms=started,
                parameters=parameters[run_id],
                metrics={key: math.nan if value == "nan" else float(value) for key, value in metrics[run_id].items()},
                tags=tags[run_id],
            )
            for run_id, experiment, name, status, started in found
        ]

    def model(self, name: str) -> StoredModel | None:
        known, values = "where workspace = ? and name = ?", (_WORKSPACE, name)
        if not self._query(f"select 1 from registered_models {known}", values):  # noqa: S608
            return None
        return StoredModel(
            aliases=dict(self._query(f"select alias, version from registered_model_aliases {known}", values)),  # noqa: S608
            tags=dict(self._query(f"select key, value from registered_model_tags {known}", values)),  # noqa: S608
        )

    def versions(self, model: str) -> list[StoredVersion]:
        return self._versions("", (_WORKSPACE, model))

    def version(self, model: str, number: int) -> StoredVersion | None:
        return next(iter(self._versions("and version = ?", (_WORKSPACE, model, number))), None)

    def _versions(self, condition: str, values: Sequence[object]) -> list[StoredVersion]:
        columns = "select name, version, run_id, creation_time from model_versions"
        known = f"workspace = ? and name = ? {condition}"
        rows = self._query(
            f"{columns} where {known} and current_stage != 'Deleted_Internal' order by version desc", values
        )
        tags: dict[int, dict[str, str]] = {}
        for number, key, value in self._query(
            f"select version, key, value from model_version_tags where {known}",  # noqa: S608
            values,
        ):
            tags.setdefault(number, {})[key] = value
        return [
            StoredVersion(name, number, run_id or "", created, tags.get(number, {}))
            for name, number, run_id, created in rows
        ]

    def _of_runs(self, select: str, run_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {run_id: {} for run_id in run_ids}
        for start in range(0, len(run_ids), _BATCH):
            batch = run_ids[start : start + _BATCH]
            marks = ",".join("?" * len(batch))
            for run_id, key, value in self._query(f"{select} where run_uuid in ({marks})", batch):
                found[run_id][key] = value
        return found

    def _query(self, statement: str, values: Iterable[object]) -> list[Any]:
        if not self._path.exists():
            return []
        with _connected(self._path) as connection:
            return connection.execute(statement, tuple(values)).fetchall()


@contextmanager
def _connected(path: Path) -> Iterator[sqlite3.Connection]:
    uri = f"file:{quote(str(path))}?mode=ro"
    with closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)) as connection:
        yield connection


def _search(query: RunQuery, experiment: str) -> tuple[str, list[object]]:
    """Return the statement of a query with its values, sorted as `SqlAlchemyStore.search_runs` sorts.

    There, NaN and missing values come last in either direction, then runs are sorted by their start, newest first, and
    by id.
    """
    joins: list[str] = []
    keys: list[str] = []
    values: list[object] = []
    for index, order in enumerate(query.order):
        table = f"o{index}"
        joins.append(f"left join latest_metrics {table} on {table}.run_uuid = r.run_uuid and {table}.key = ?")
        values.append(order.metric)
        keys.append(f"case when {table}.is_nan then 1 when {table}.value is null then 2 else 0 end")
        keys.append(f"{table}.value {'desc' if order.descending else 'asc'}")
    conditions = ["r.experiment_id = ?", "r.lifecycle_stage = 'active'"]
    values.append(int(experiment))
    if query.status:
        conditions.append("r.status = ?")
        values.append(query.status)
    for key, value in query.tags.items():
        conditions.append("exists (select 1 from tags t where t.run_uuid = r.run_uuid and t.key = ? and t.value = ?)")
        values += [key, value]
    for key, value in query.parameters.items():
        conditions.append("exists (select 1 from params p where p.run_uuid = r.run_uuid and p.key = ? and p.value = ?)")
        values += [key, value]
    if query.since_ms is not None:
        conditions.append("r.start_time >= ?")
        values.append(query.since_ms)
    if query.measured:
        conditions.append(
            "exists (select 1 from latest_metrics m where m.run_uuid = r.run_uuid and m.key = ? and m.value >= 0 "
            "and not m.is_nan)"
        )
        values.append(query.measured)
    statement = (
        f"{_RUNS} {' '.join(joins)} "
        f"where {' and '.join(conditions)} order by {', '.join([*keys, 'r.start_time desc', 'r.run_uuid'])} limit ?"
    )
    return statement, [*values, query.limit]
