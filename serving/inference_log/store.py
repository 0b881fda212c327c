"""Store of the inference log: its tables, in a SQLite file or a PostgreSQL database."""

import importlib.util
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from serving.errors import InvalidRequestError, StartError, UnknownRequestError

POSTGRESQL = ("postgresql://", "postgres://")
TIMEOUT_SECONDS = 5

# SQLite gives every table an ascending `rowid`, which an upsert keeps; PostgreSQL needs a column for it.
SCHEMA = """
CREATE TABLE IF NOT EXISTS inferences (
    id TEXT NOT NULL, number INTEGER NOT NULL, time DOUBLE PRECISION NOT NULL, model TEXT NOT NULL,
    version INTEGER NOT NULL, image {blob} NOT NULL, shape TEXT NOT NULL, classes TEXT NOT NULL,
    probabilities TEXT NOT NULL, {rowid} PRIMARY KEY (id, number)
);
CREATE TABLE IF NOT EXISTS feedback (
    id TEXT NOT NULL, number INTEGER NOT NULL, time DOUBLE PRECISION NOT NULL, label INTEGER NOT NULL,
    class_name TEXT NOT NULL, source TEXT NOT NULL DEFAULT '', {rowid} PRIMARY KEY (id, number)
);
CREATE TABLE IF NOT EXISTS reviews (
    id TEXT NOT NULL, number INTEGER NOT NULL, time DOUBLE PRECISION NOT NULL, decision TEXT NOT NULL,
    class_name TEXT NOT NULL, reviewer TEXT NOT NULL, PRIMARY KEY (id, number)
);
"""
# Logs of version 0.1 have feedback without its source and, in PostgreSQL, without `rowid`.
ADD_SOURCE = "ALTER TABLE feedback ADD COLUMN {guard} source TEXT NOT NULL DEFAULT ''"
ROWID = "rowid BIGSERIAL UNIQUE"
ADD_ROWID = f"ALTER TABLE feedback ADD COLUMN IF NOT EXISTS {ROWID}"
INSERT = """
INSERT INTO inferences (id, number, time, model, version, image, shape, classes, probabilities)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING
"""
HAS_ID = "SELECT 1 FROM inferences WHERE id = ? LIMIT 1"
# The tables that name an image by its id; the order matters, because each new id contains the image's rowid.
RENAMED = ("reviews", "feedback", "inferences")
RENAME = """
UPDATE {table} SET id = id || '#' || (
    SELECT i.rowid FROM inferences i WHERE i.id = {table}.id AND i.number = {table}.number
) WHERE id = ? AND EXISTS (SELECT 1 FROM inferences i WHERE i.id = {table}.id AND i.number = {table}.number)
"""
CLASSES = "SELECT classes FROM inferences WHERE id = ? AND number = ?"
# The same report again, as from a client that retries, keeps its time, and so its review.
UPSERT_FEEDBACK = """
INSERT INTO feedback (id, number, time, label, class_name, source) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (id, number) DO UPDATE SET time = excluded.time, label = excluded.label, class_name = excluded.class_name,
    source = excluded.source
WHERE feedback.label <> excluded.label OR feedback.source <> excluded.source
"""
PRUNE = """
DELETE FROM inferences WHERE rowid <= (SELECT max(rowid) FROM inferences) - ?
AND NOT EXISTS (SELECT 1 FROM feedback WHERE feedback.id = inferences.id AND feedback.number = inferences.number)
"""


@dataclass(frozen=True, slots=True)
class Feedback:
    """The true label of an image of a logged request.

    Attributes:
        id: of the request.
        number: index of the image in the request, from 0.
        class_name: one of the classes of the model that answered.
    """

    id: str
    number: int
    class_name: str


def check_driver(location: str) -> None:
    """Check that the driver of the database is installed.

    Raises:
        StartError: the driver of PostgreSQL is not installed.
    """
    if location.startswith(POSTGRESQL) and importlib.util.find_spec("psycopg") is None:
        raise StartError("an inference log in PostgreSQL needs psycopg. Install it: `pip install '.[postgres]'`.")


class LogStore:
    """A connection to the log. Used by one thread; after an error, open another one.

    Args:
        location: a SQLite file, created when missing, or the URL of a PostgreSQL database.

    Raises:
        sqlite3.Error, psycopg.Error, OSError: it cannot be opened; the methods raise these errors as well.
    """

    def __init__(self, location: str) -> None:
        self._is_postgresql = location.startswith(POSTGRESQL)
        self._connection: Any = _postgresql(location) if self._is_postgresql else _sqlite(location)

    def insert(self, entries: Sequence[tuple[object, ...]]) -> None:
        """Insert the images of one request with their predictions.

        Clients may use an id again. It then names the new images: to the id of the former ones, `#` and a number are
        added.
        """
        for request_id in {entry[0] for entry in entries}:
            if self.read(HAS_ID, [request_id]):
                for table in RENAMED:
                    self._execute(RENAME.format(table=table), [[request_id]])
        self.write(INSERT, entries)

    def prune(self, rows: int) -> None:
        """Delete all rows but the newest ones and those with feedback."""
        self.write(PRUNE, [(rows,)])

    def record_feedback(self, feedback: Feedback, source: str) -> None:
        """Store feedback on an image; it replaces earlier feedback on the same image, unless it is the same.

        Args:
            feedback: the true label.
            source: name of the sender; empty if it is not known.

        Raises:
            UnknownRequestError: the image is not in the log.
            InvalidRequestError: the model that answered has no such class.
        """
        key = (feedback.id, feedback.number)
        found = self.read(CLASSES, key)
        if not found:
            reason = "only a sample of the requests is logged"
            raise UnknownRequestError(f"the inference log has no prediction with this id: {reason}")
        classes: list[str] = orjson.loads(found[0][0])
        if feedback.class_name not in classes:
            raise InvalidRequestError(f"class_name must be one of: {', '.join(classes)}")
        label = classes.index(feedback.class_name)
        self.write(UPSERT_FEEDBACK, [(*key, time.time(), label, feedback.class_name, source)])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def read(self, query: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of a query, with `?` for each parameter."""
        with closing(self._connection.cursor()) as cursor:
            rows: list[tuple[Any, ...]] = cursor.execute(self._dialect(query), parameters).fetchall()
        self._connection.commit()
        return rows

    def write(self, query: str, rows: Sequence[Sequence[object]]) -> None:
        """Execute a statement once for each row, with `?` for each value, and commit."""
        self._execute(query, rows)
        self._connection.commit()

    def _execute(self, query: str, rows: Sequence[Sequence[object]]) -> None:
        with closing(self._connection.cursor()) as cursor:
            cursor.executemany(self._dialect(query), rows)

    def _dialect(self, query: str) -> str:
        return query.replace("?", "%s") if self._is_postgresql else query


def _sqlite(path: str) -> sqlite3.Connection:
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=TIMEOUT_SECONDS)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    connection.executescript(SCHEMA.format(blob="BLOB", rowid=""))
    if "source" not in {name for _, name, *_ in connection.execute("PRAGMA table_info(feedback)")}:
        with suppress(sqlite3.OperationalError):  # another worker has added it meanwhile
            connection.execute(ADD_SOURCE.format(guard=""))
    return connection


def _postgresql(url: str) -> Any:
    import psycopg

    options = f"-c statement_timeout={TIMEOUT_SECONDS * 1000}"
    connection = psycopg.connect(url, connect_timeout=TIMEOUT_SECONDS, options=options)
    # Workers that create the tables at the same time would fail.
    connection.execute("SELECT pg_advisory_xact_lock(hashtext('mnistflow inference log'))")
    connection.execute(SCHEMA.format(blob="BYTEA", rowid=f"{ROWID},"))
    connection.execute(ADD_SOURCE.format(guard="IF NOT EXISTS"))
    connection.execute(ADD_ROWID)
    connection.commit()
    return connection
