"""Migration of MLflow's store: from one database and artifact folder to others, such as SQLite to PostgreSQL and S3.

Artifacts are copied first, those that are there already left out, then all tables in one transaction. So a migration
that was killed is completed by the same command, and the source is only read.
"""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from mnistflow.checkout.relocation import COLUMNS
from mnistflow.errors import RegistryError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, MetaData

SERVED = "mlflow-artifacts:"
_REVISION = "alembic_version"
_COPIES = 8  # at the same time
_ROWS = 1000  # a statement


@dataclass(frozen=True)
class Migrated:
    """What the target has after a migration, read back.

    Attributes:
        rows: of each table.
        files: number of artifacts.
        copied: of these, how many were not there before.
    """

    rows: Mapping[str, int]
    files: int
    copied: int


def migrate(source: str, target: str, from_artifacts: str | None, artifacts: str, served: bool) -> Migrated:
    """Copy a store, and let its locations lead to the new artifacts.

    Args:
        source: database URI, as MLflow and SQLAlchemy read it.
        target: the same of a new database.
        from_artifacts: folder or URL of the artifacts; None: where the experiments of the source say.
        artifacts: folder or URL to copy them to.
        served: whether a tracking server gives access to `artifacts`, as its `--artifacts-destination`.

    Raises:
        RegistryError: a database cannot be used, the target holds runs or models already, or the copy is incomplete.
    """
    from mlflow.store.db import utils
    from sqlalchemy import inspect

    source_engine, target_engine = _engine(source), _engine(target)
    if not inspect(source_engine).has_table(_REVISION):
        raise RegistryError(
            f"{source_engine.url} is not a database of MLflow", "Set MLFLOW_TRACKING_URI to the database to copy."
        )
    if utils._get_schema_version(source_engine) != utils._get_latest_schema_revision():
        raise RegistryError(
            f"{source_engine.url} has the schema of another version of MLflow", "Run `mlflow db upgrade` on it first."
        )
    utils._safe_initialize_tables(target_engine)
    _check_empty(target_engine)
    known = _location(source_engine)
    origin = from_artifacts or known
    if origin.startswith(SERVED):
        raise RegistryError(
            "the artifacts are known by the address of a tracking server only",
            "Name its --artifacts-destination with --from-artifacts.",
        )
    files, copied = _copy_artifacts(origin, artifacts)
    recorded = f"{SERVED}/" if served else _uri(artifacts)
    rows = _copy_tables(source_engine, target_engine, known, recorded.rstrip("/"))
    return Migrated(rows, files, copied)


def _engine(uri: str) -> Engine:
    from mlflow.store.db import utils

    try:
        engine: Engine = utils.create_sqlalchemy_engine_with_retry(uri)
    except Exception as error:  # of SQLAlchemy and of the drivers of each database
        raise RegistryError(
            f"the database cannot be used: {type(error).__name__}: {str(error).splitlines()[0]}",
            "Name one such as sqlite:////folder/mlflow.db or postgresql://user@host/mlflow (pip install '.[team]').",
        ) from error
    return engine


def _reflected(engine: Engine) -> MetaData:
    from sqlalchemy import MetaData

    tables = MetaData()
    tables.reflect(engine)
    return tables


def _count(connection: Connection, table: Any) -> int:
    from sqlalchemy import func, select

    return int(connection.execute(select(func.count()).select_from(table)).scalar_one())


def _check_empty(engine: Engine) -> None:
    tables = _reflected(engine).tables
    with engine.connect() as connection:
        if any(_count(connection, tables[name]) for name in ("runs", "registered_models", "logged_models")):
            raise RegistryError(f"{engine.url} holds runs or models already", "Name a new database.")


def _location(engine: Engine) -> str:
    """Return the folder of all artifacts: that of the experiments, or the one above if each has its own."""
    from sqlalchemy import select

    experiments = _reflected(engine).tables["experiments"]
    with engine.connect() as connection:
        found = connection.execute(
            select(experiments.c.artifact_location).where(experiments.c.name != "Default")
        ).scalars()
        locations = sorted({str(location).rstrip("/") for location in found if location})
    if not locations:
        raise RegistryError(f"{engine.url} has no experiments", "There is nothing to migrate.")
    columns = zip(*(location.split("/") for location in locations), strict=False)
    shared = "/".join(column[0] for column in takewhile(lambda column: len(set(column)) == 1, columns))
    if not shared.strip("/") or shared.endswith(":/"):
        raise RegistryError(
            "the experiments keep their artifacts in different places", "Name one with --from-artifacts."
        )
    return shared


def _uri(artifacts: str) -> str:
    return artifacts if "://" in artifacts else Path(artifacts).resolve().as_uri()


def _path(location: str) -> str:
    """Return a location as fsspec takes it: a `file:` URI as a path, with its percent signs decoded."""
    return unquote(urlsplit(location).path) if location.startswith("file:") else location


def _copy_artifacts(origin: str, artifacts: str) -> tuple[int, int]:
    """Copy all files that are not there yet, and return how many there are and how many were copied."""
    import fsspec

    source, source_root = fsspec.core.url_to_fs(_path(origin))
    target, target_root = fsspec.core.url_to_fs(_path(artifacts))
    wanted = _sizes(source, source_root)
    present = _sizes(target, target_root)
    missing = [name for name, size in wanted.items() if present.get(name) != size]

    def copy(name: str) -> None:
        path = f"{target_root}/{name}"
        target.makedirs(path.rpartition("/")[0], exist_ok=True)
        with source.open(f"{source_root}/{name}", "rb") as original, target.open(path, "wb") as written:
            while part := original.read(1 << 24):
                written.write(part)

    try:
        with ThreadPoolExecutor(_COPIES) as pool:
            list(pool.map(copy, missing))
    except Exception as error:  # of the drivers of each kind of storage
        raise RegistryError(f"artifacts cannot be copied: {error}", "Run the command again: it resumes.") from error
    target.invalidate_cache()
    written = _sizes(target, target_root)
    lost = [name for name, size in wanted.items() if written.get(name) != size]
    if lost:
        raise RegistryError(f"{len(lost)} artifacts did not arrive, such as {lost[0]}", "Run the command again.")
    return len(wanted), len(missing)


def _sizes(files: Any, root: str) -> dict[str, int]:
    try:
        found = files.find(root, detail=True)
    except FileNotFoundError:
        return {}
    prefix = root.rstrip("/") + "/"
    return {name.removeprefix(prefix): int(facts["size"]) for name, facts in found.items()}


def _copy_tables(source_engine: Engine, target_engine: Engine, known: str, recorded: str) -> dict[str, int]:
    """Copy every row in one transaction, and return how many each table of the target has."""
    source, target = _reflected(source_engine), _reflected(target_engine)
    # As URIs, which are the same as paths in S3, and as paths: MLflow writes both.
    spellings = {_path(known): _path(recorded), known: recorded}
    counts = {}
    with source_engine.connect() as reader, target_engine.begin() as writer:
        for table in reversed(target.sorted_tables):
            if table.name != _REVISION:
                writer.execute(table.delete())
        for table in target.sorted_tables:
            if table.name == _REVISION or table.name not in source.tables:
                continue
            moved = [column for name, column in COLUMNS if name == table.name]
            rows = reader.execute(source.tables[table.name].select()).mappings()
            while part := rows.fetchmany(_ROWS):
                writer.execute(table.insert(), [_relocated(dict(row), moved, spellings) for row in part])
            _advance_sequences(writer, table)
            counts[table.name] = _count(writer, table)
            expected = _count(reader, source.tables[table.name])
            if counts[table.name] != expected:
                raise RegistryError(
                    f"{table.name} has {counts[table.name]} rows instead of {expected}", "Run the command again."
                )
    return counts


def _relocated(values: dict[str, Any], columns: list[str], spellings: Mapping[str, str]) -> dict[str, Any]:
    for column in columns:
        value = values.get(column)
        for former, present in spellings.items():
            if isinstance(value, str) and (value == former or value.startswith(f"{former}/")):
                values[column] = present + value.removeprefix(former)
                break
    return values


def _advance_sequences(writer: Connection, table: Any) -> None:
    """Let PostgreSQL number new rows after the copied ones; other databases do so by themselves."""
    from sqlalchemy import Integer, func, select, text

    if writer.dialect.name != "postgresql":
        return
    for column in table.primary_key.columns:
        if isinstance(column.type, Integer) and (highest := writer.execute(select(func.max(column))).scalar()):
            sequence = writer.execute(
                text("select pg_get_serial_sequence(:t, :c)"), {"t": table.name, "c": column.name}
            ).scalar()
            if sequence:
                writer.execute(text("select setval(:s, :n)"), {"s": sequence, "n": highest})
