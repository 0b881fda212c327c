"""The tables of the inference log, in a SQLite file or a PostgreSQL database."""

import importlib.util
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from serving.errors import InvalidRequestError, StartError, UnknownRequestError

POSTGRESQL = ("postgresql://", "postgres://")
TIMEOUT_SECONDS = 5

# In SQLite, a table has an ascending `rowid` of its own.
SCHEMA = """
CREATE TABLE IF NOT EXISTS inferences (
    id TEXT NOT NULL, number INTEGER NOT NULL, time DOUBLE PRECISION NOT NULL, model TEXT NOT NULL,
    version INTEGER NOT NULL, image {blob} NOT NULL, shape TEXT NOT NULL, classes TEXT NOT NULL,
    probabilities TEXT NOT NULL, {rowid} PRIMARY KEY (id, number)
);
CREATE TABLE IF NOT EXISTS feedback (
    id TEXT NOT NULL, number INTEGER NOT NULL, time DOUBLE PRECISION NOT NULL, label INTEGER NOT NULL,
    class_name TEXT NOT NULL, PRIMARY KEY (id, number)
);
"""
INSERT = """
INSERT INTO inferences (id, number, time, model, version, image, shape, classes, probabilities)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
CLASSES = "SELECT classes FROM inferences WHERE id = ? AND number = ?"
SAY = """
INSERT INTO feedback (id, number, time, label, class_name) VALUES (?, ?, ?, ?, ?)
ON CONFLICT (id, number) DO UPDATE SET time = excluded.time, label = excluded.label, class_name = excluded.class_name
"""
TIDY = """
DELETE FROM inferences WHERE rowid <= (SELECT max(rowid) FROM inferences) - ?
AND NOT EXISTS (SELECT 1 FROM feedback WHERE feedback.id = inferences.id AND feedback.number = inferences.number)
"""


@dataclass(frozen=True, slots=True)
class Feedback:
    """What the picture of an answered request really shows.

    Attributes:
        id: of the request.
        number: of the picture in it, from 0.
        class_name: as the model names its classes.
    """

    id: str
    number: int
    class_name: str


def check(where: str) -> None:
    """Look whether there is what is needed to write there.

    Raises:
        StartError: the driver of PostgreSQL is not installed.
    """
    if where.startswith(POSTGRESQL) and importlib.util.find_spec("psycopg") is None:
        raise StartError("a log in PostgreSQL needs psycopg. Install it: `pip install '.[postgres]'`.")


class LogStore:
    """A connection to the log. Used by one thread; of no use after an error.

    Args:
        where: a file, made when it is missing, or the URL of a PostgreSQL database.

    Raises:
        sqlite3.Error, psycopg.Error, OSError: it cannot be opened; the methods raise them, too.
    """

    def __init__(self, where: str) -> None:
        self._is_postgresql = where.startswith(POSTGRESQL)
        self._connection: Any = _postgresql(where) if self._is_postgresql else _sqlite(where)

    def insert(self, entries: Sequence[tuple[object, ...]]) -> None:
        """Write pictures and answers; an id that is there already stays as it is."""
        self._write(INSERT, entries)

    def tidy(self, rows: int) -> None:
        """Delete all but the newest rows, and those with feedback."""
        self._write(TIDY, [(rows,)])

    def say(self, feedback: Feedback) -> None:
        """Write feedback, in place of what was said of the same picture before.

        Raises:
            UnknownRequestError: the log has no such picture.
            InvalidRequestError: the model that answered has no such class.
        """
        key = (feedback.id, feedback.number)
        with closing(self._connection.cursor()) as cursor:
            found = cursor.execute(self._dialect(CLASSES), key).fetchone()
        self._connection.commit()
        if found is None:
            raise UnknownRequestError("the inference log has no answer with this id")
        classes: list[str] = orjson.loads(found[0])
        if feedback.class_name not in classes:
            raise InvalidRequestError(f"class_name has to be one of: {', '.join(classes)}")
        label = classes.index(feedback.class_name)
        self._write(SAY, [(*key, time.time(), label, feedback.class_name)])

    def close(self) -> None:
        self._connection.close()

    def _write(self, query: str, rows: Sequence[tuple[object, ...]]) -> None:
        with closing(self._connection.cursor()) as cursor:
            cursor.executemany(self._dialect(query), rows)
        self._connection.commit()

    def _dialect(self, query: str) -> str:
        return query.replace("?", "%s") if self._is_postgresql else query


def _sqlite(path: str) -> sqlite3.Connection:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=TIMEOUT_SECONDS)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.executescript(SCHEMA.format(blob="BLOB", rowid=""))
    return connection


def _postgresql(url: str) -> Any:
    import psycopg

    options = f"-c statement_timeout={TIMEOUT_SECONDS * 1000}"
    connection = psycopg.connect(url, connect_timeout=TIMEOUT_SECONDS, options=options)
    # Workers that start together would stand in each other's way.
    connection.execute("SELECT pg_advisory_xact_lock(hashtext('mnistflow inference log'))")
    connection.execute(SCHEMA.format(blob="BYTEA", rowid="rowid BIGSERIAL UNIQUE,"))
    connection.commit()
    return connection
