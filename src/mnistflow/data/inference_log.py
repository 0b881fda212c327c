"""Inference log of a server, in SQLite or PostgreSQL: all SQL by which the pipeline reads and writes it.

Servers create and upgrade the tables, see `serving/inference_log/store.py`. The pipeline reads images, predictions and
feedback, stores reviews, and deletes old rows. Functions take the location of the log, the path of an SQLite file or
the URL of a PostgreSQL database, and raise a DataError if that cannot be read or written as an inference log. A file
that does not exist is an empty log.
"""

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, LiteralString

from mnistflow.errors import DataError

TIMEOUT_SECONDS = 10
FIX = "Set MNISTFLOW_SERVE_INFERENCE_LOG to the log of a server. A server upgrades the log of an older one."
NEWEST = "SELECT max(time) FROM (SELECT time FROM feedback UNION ALL SELECT time FROM reviews) AS times WHERE time <= ?"
REPORTS = """
SELECT i.id, i.number, f.time, i.image, i.classes, i.probabilities, f.class_name, f.source, r.decision, r.class_name
FROM feedback f JOIN inferences i ON i.id = f.id AND i.number = f.number
LEFT JOIN reviews r ON r.id = f.id AND r.number = f.number AND r.time >= f.time AND r.time <= ?
WHERE i.model = ? AND i.shape = ? AND f.time <= ? ORDER BY i.id, i.number
"""
# The same statement as in the server, whose review page stores decisions as well.
UPSERT_REVIEW = """
INSERT INTO reviews (id, number, time, decision, class_name, reviewer) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (id, number) DO UPDATE SET time = excluded.time, decision = excluded.decision,
    class_name = excluded.class_name, reviewer = excluded.reviewer
"""
# Feedback as its review has left it: corrected, or not at all if it was rejected. Its `rowid` is that of the first
# report on the image, whatever has replaced that report since.
FEEDBACK: LiteralString = """(
    SELECT reported.rowid, reported.id, reported.number,
        coalesce(reviews.class_name, reported.class_name) AS class_name
    FROM feedback reported LEFT JOIN reviews
    ON reviews.id = reported.id AND reviews.number = reported.number AND reviews.time >= reported.time
    WHERE coalesce(reviews.decision, 'accept') = 'accept'
)"""
LAST_ROW = "SELECT max(rowid) FROM inferences"
COUNT = "SELECT count(*) FROM inferences WHERE model = ? AND version = ? AND shape = ? AND rowid > ?"
IMAGES = """
SELECT image, probabilities FROM inferences WHERE model = ? AND version = ? AND shape = ? AND rowid > ? AND rowid <= ?
ORDER BY rowid DESC LIMIT ?
"""
LABELS: LiteralString = f"""
SELECT i.probabilities, i.classes, f.class_name, f.rowid FROM {FEEDBACK} f
JOIN inferences i ON i.id = f.id AND i.number = f.number
WHERE i.model = ? AND i.version = ? AND i.shape = ? AND f.rowid > ? ORDER BY f.rowid
"""  # noqa: S608
LABELLED_IMAGES: LiteralString = f"""
SELECT i.image, i.classes, i.probabilities, f.class_name FROM {FEEDBACK} f
JOIN inferences i ON i.id = f.id AND i.number = f.number
WHERE i.model = ? AND i.version = ? AND i.shape = ? AND i.time >= ? ORDER BY f.rowid LIMIT ?
"""  # noqa: S608
HAS_FEEDBACK: LiteralString = (
    "EXISTS (SELECT 1 FROM feedback WHERE feedback.id = inferences.id AND feedback.number = inferences.number)"
)
# The newest row stays, because the rows after it get numbers above its own, which the monitoring relies on.
FROM_OLD: LiteralString = (
    f"FROM inferences WHERE time < ? AND NOT {HAS_FEEDBACK} AND rowid < (SELECT max(rowid) FROM inferences)"  # noqa: S608
)
COUNT_OLD: LiteralString = (
    f"SELECT count(*), coalesce(sum(length(image) + length(classes) + length(probabilities)), 0) {FROM_OLD}"
)
COUNT_BY_FEEDBACK: LiteralString = f"SELECT {HAS_FEEDBACK}, count(*) FROM inferences GROUP BY 1"  # noqa: S608
DELETE_OLD: LiteralString = f"DELETE FROM inferences WHERE rowid IN (SELECT rowid {FROM_OLD} LIMIT ?)"  # noqa: S608

Row = tuple[Any, ...]


@dataclass(frozen=True)
class Source:
    """What the images of a query were predicted by.

    Attributes:
        model: registered name.
        version: number of the version.
        shape: of an image.
    """

    model: str
    version: int
    shape: Sequence[int]

    @property
    def key(self) -> tuple[object, ...]:
        """Its columns."""
        return self.model, self.version, _shape_text(self.shape)


def newest_feedback(location: str, until: float, fix: str = FIX) -> float | None:
    """Return the time of the newest feedback or review up to a time, in seconds since 1970; None without feedback."""
    rows = query(location, NEWEST, (until,), fix)
    return rows[0][0] if rows else None


def reports(location: str, model: str, shape: Sequence[int], until: float, fix: str = FIX) -> list[Row]:
    """Return feedback with its review up to a time, on images that any version of a model has classified.

    Returns:
        id, number, time, image, classes, probabilities, class name and source of the feedback, decision and class name
        of the review. The classes and probabilities are JSON. Sorted by id and number.
    """
    return query(location, REPORTS, (until, model, _shape_text(shape), until), fix)


def store_reviews(location: str, reviews: Sequence[tuple[object, ...]], fix: str = FIX) -> None:
    """Store reviews, all or none: id, number, time, decision, class name and reviewer."""
    execute(location, UPSERT_REVIEW, reviews, fix)


def last_row(location: str) -> int:
    """Return the number of the last image; 0 if there is none."""
    rows = query(location, LAST_ROW, ())
    return (rows[0][0] or 0) if rows else 0


def count_images(location: str, source: Source, after: int) -> int:
    """Return how many images follow a row."""
    rows = query(location, COUNT, (*source.key, after))
    return int(rows[0][0]) if rows else 0


def images(location: str, source: Source, after: int, last: int, limit: int) -> list[Row]:
    """Return image and probabilities of the rows after one and up to another: the newest ones, in descending order."""
    return query(location, IMAGES, (*source.key, after, last, limit))


def labels(location: str, source: Source, after: int) -> list[Row]:
    """Return probabilities, classes, true class, and row of the feedback, of all feedback after a row."""
    return query(location, LABELS, (*source.key, after))


def labelled_images(location: str, source: Source, since: float, limit: int) -> list[Row]:
    """Return image, classes, probabilities and true class of the first images with feedback since a time."""
    return query(location, LABELLED_IMAGES, (*source.key, since, limit))


def count_old(location: str, before: float) -> tuple[int, int] | None:
    """Return number and bytes of the rows without feedback that are older than a time; None if there is no log."""
    rows = query(location, COUNT_OLD, (before,))
    return (int(rows[0][0]), int(rows[0][1])) if rows else None


def count_by_feedback(location: str) -> dict[bool, int]:
    """Return the number of rows with and without feedback."""
    return {bool(has_feedback): int(number) for has_feedback, number in query(location, COUNT_BY_FEEDBACK, ())}


def delete_old(location: str, before: float, limit: int) -> int:
    """Delete rows without feedback that are older than a time, `limit` at most, and return how many there were."""
    return execute(location, DELETE_OLD, [(before, limit)])


def predicted_class(classes: str, probabilities: str) -> str:
    """Return the class with the largest probability of a row, whose columns are JSON."""
    values = json.loads(probabilities)
    return str(json.loads(classes)[values.index(max(values))])


def _shape_text(shape: Sequence[int]) -> str:
    """Return the shape of an example as the log stores it: `[28,28]`."""
    return f"[{','.join(map(str, shape))}]"


def query(location: str, statement: LiteralString, parameters: tuple[object, ...], fix: str = FIX) -> list[Row]:
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
            rows: list[Row] = connection.execute(statement.replace("?", "%s"), parameters).fetchall()
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
