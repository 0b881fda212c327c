"""What users said of pictures that were served: further training examples, from the inference log of a server.

A picture that is also in the test split is left out: it would no longer be a test.
"""

import logging
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np

from mnistflow.data.catalog import Entry
from mnistflow.data.splits import Split
from mnistflow.errors import DataError

log = logging.getLogger(__name__)

QUERY = """
SELECT i.image, f.class_name FROM feedback f JOIN inferences i ON i.id = f.id AND i.number = f.number
WHERE i.model = ? AND i.shape = ? AND f.time <= ? ORDER BY i.id, i.number
"""


def newest(path: Path) -> float | None:
    """Return the time of the newest feedback, in seconds since 1970; None when there is none.

    Raises:
        DataError: the file is no inference log.
    """
    return _asked(path, "SELECT max(time) FROM feedback", ())[0][0] if path.is_file() else None


def read(path: Path, until: float | None, entry: Entry, test: Split) -> Split:
    """Return the pictures of a data set's model with what they really were.

    Args:
        path: the log; when it does not exist yet, there is no feedback.
        until: time of the newest feedback to take; None for all.
        entry: the data set.
        test: its test split.

    Raises:
        DataError: the file is no inference log.
    """
    shape = ",".join(map(str, entry.input_shape))
    parameters = (f"{entry.name}-classifier", f"[{shape}]", float("inf") if until is None else until)
    rows = _asked(path, QUERY, parameters) if path.is_file() else []
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


def _asked(path: Path, query: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            return connection.execute(query, parameters).fetchall()
    except sqlite3.Error as error:
        raise DataError(
            f"{path} is no inference log of a server: {error}", "Mend prepare.feedback; null takes no feedback."
        ) from error
