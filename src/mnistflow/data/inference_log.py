"""Inference log of a server, in SQLite or PostgreSQL, as the pipeline reads it, stores reviews and deletes old rows."""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, LiteralString

from mnistflow.errors import DataError

TIMEOUT_SECONDS = 10
FIX = "Set MNISTFLOW_SERVE_INFERENCE_LOG to the log of a server. A server upgrades the log of an older one."
# Feedback as its review has left it: corrected, or not at all if it was rejected. Its `rowid` is that of the first
# report on the image, whatever has replaced that report since.
FEEDBACK: LiteralString = """(
    SELECT reported.rowid, reported.id, reported.number,
        coalesce(reviews.class_name, reported.class_name) AS class_name
    FROM feedback reported LEFT JOIN reviews
    ON reviews.id = reported.id AND reviews.number = reported.number AND reviews.time >= reported.time
    WHERE coalesce(reviews.decision, 'accept') = 'accept'
)"""


def shape_text(shape: Sequence[int]) -> str:
    """Return the shape of an example as the log stores it: `[28,28]`."""
    return f"[{','.join(map(str, shape))}]"


def predicted_class(classes: str, probabilities: str) -> str:
    """Return the class with the largest probability of a row, whose columns are JSON."""
    values = json.loads(probabilities)
    return str(json.loads(classes)[values.index(max(values))])


def query(
    location: str, statement: LiteralString, parameters: tuple[object, ...], fix: str = FIX
) -> list[tuple[Any, ...]]:
    """Return the rows of a query; none if the file does not exist.

    Args:
        location: path of an SQLite file, or URL of a PostgreSQL database.
        statement: with `?` for each parameter.
        parameters: of the query.
        fix: what the user can do if the location is wrong.

    Raises:
        DataError: the file or database cannot be read as an inference log.
    """
    if "://" in location:
        with _postgresql(location, fix) as connection:
            rows: list[tuple[Any, ...]] = connection.execute(statement.replace("?", "%s"), parameters).fetchall()
            return rows
    if not Path(location).is_file():
        return []
    with _sqlite(Path(location), "ro", fix) as connection:
        return connection.execute(statement, parameters).fetchall()


def execute(location: str, statement: LiteralString, rows: Sequence[tuple[object, ...]], fix: str = FIX) -> int:
    """Execute a statement once for each row, in one transaction, and return how many rows of the log it has changed.

    Args:
        location: path of an SQLite file, which exists, or URL of a PostgreSQL database.
        statement: with `?` for each parameter.
        rows: the parameters.
        fix: what the user can do if the location is wrong.

    Raises:
        DataError: the file or database cannot be written as an inference log.
    """
    if "://" in location:
        with _postgresql(location, fix) as connection, connection.cursor() as cursor:
            cursor.executemany(statement.replace("?", "%s"), rows)
            return int(cursor.rowcount)
    with _sqlite(Path(location), "rw", fix) as connection, connection:
        return connection.executemany(statement, rows).rowcount


@contextmanager
def _sqlite(path: Path, mode: str, fix: str) -> Iterator[sqlite3.Connection]:
    try:
        uri = f"{path.absolute().as_uri()}?mode={mode}"
        with closing(sqlite3.connect(uri, timeout=TIMEOUT_SECONDS, uri=True)) as connection:
            yield connection
    except sqlite3.Error as error:
        raise DataError(f"{path} is not the inference log of a server: {error}", fix) from error


@contextmanager
def _postgresql(url: str, fix: str) -> Iterator[Any]:
    # Without user name and password.
    name = f"the database at {url.rpartition('@')[2]}"
    try:
        import psycopg
    except ImportError as error:
        raise DataError(f"{name} needs psycopg", "Install it: `pip install '.[postgres]'`.") from error
    try:
        with psycopg.connect(url, connect_timeout=TIMEOUT_SECONDS) as connection:
            yield connection
    except psycopg.Error as error:
        raise DataError(f"{name} is not the inference log of a server: {error}", fix) from error
