"""What users said of pictures that were served: further training examples, from the inference log of a server.

A picture that is also in the test split is left out: it would no longer be a test.
"""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any, LiteralString

import numpy as np

from mnistflow.data.entry import Entry
from mnistflow.errors import DataError
from mnistflow.splits import Split

log = logging.getLogger(__name__)

CONNECT_SECONDS = 10
FIX = "Mend prepare.feedback; null takes no feedback."
QUERY = """
SELECT i.image, f.class_name FROM feedback f JOIN inferences i ON i.id = f.id AND i.number = f.number
WHERE i.model = ? AND i.shape = ? AND f.time <= ? ORDER BY i.id, i.number
"""


def newest(where: str) -> float | None:
    """Return the time of the newest feedback, in seconds since 1970; None when there is none.

    Raises:
        DataError: this is no inference log.
    """
    rows = _asked(where, "SELECT max(time) FROM feedback", ())
    return rows[0][0] if rows else None


def read(where: str, until: float | None, entry: Entry, test: Split) -> Split:
    """Return the pictures of a data set's model with what they really were.

    Args:
        where: the file of the log, which may not exist yet, or the URL of its PostgreSQL database.
        until: time of the newest feedback to take; None for all.
        entry: the data set.
        test: its test split.

    Raises:
        DataError: this is no inference log.
    """
    shape = ",".join(map(str, entry.input_shape))
    parameters = (f"{entry.name}-classifier", f"[{shape}]", float("inf") if until is None else until)
    rows = _asked(where, QUERY, parameters)
    seen = {image.tobytes() for image in test.inputs}
    kept = [
        (np.frombuffer(image, np.uint8).reshape(entry.input_shape), entry.classes.index(name))
        for image, name in rows
        if image not in seen and name in entry.classes
    ]
    if len(kept) < len(rows):
        log.warning("%d pictures with feedback are left out: they are test images", len(rows) - len(kept))
    inputs = np.stack([image for image, _ in kept]) if kept else np.empty((0, *entry.input_shape), np.uint8)
    return Split(inputs, np.array([label for _, label in kept], np.int64))


def _asked(where: str, query: LiteralString, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
    if "://" in where:
        return _asked_postgresql(where, query.replace("?", "%s"), parameters)
    path = Path(where)
    if not path.is_file():
        return []
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(query, parameters).fetchall()
    except sqlite3.Error as error:
        raise DataError(f"{path} is no inference log of a server: {error}", FIX) from error


def _asked_postgresql(url: str, query: LiteralString, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
    # The password stays out of the message.
    name = f"the database at {url.rpartition('@')[2]}"
    try:
        import psycopg

        with psycopg.connect(url, connect_timeout=CONNECT_SECONDS) as connection:
            return connection.execute(query, parameters).fetchall()
    except ImportError as error:
        raise DataError(f"{name} needs psycopg", "Install it: `pip install 'mnistflow[postgres]'`.") from error
    except psycopg.Error as error:
        raise DataError(f"{name} is no inference log of a server: {error}", FIX) from error
