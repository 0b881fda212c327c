"""Feedback: additional training examples from the inference log of a server, with the labels that users reported.

Images that are also in the test split are excluded.
"""

import logging

import numpy as np

from mnistflow.data import inference_log
from mnistflow.data.entry import Entry
from mnistflow.splits import Split

log = logging.getLogger(__name__)

FIX = "Correct prepare.feedback, or set it to null to use no feedback."
QUERY = """
SELECT i.image, f.class_name FROM feedback f JOIN inferences i ON i.id = f.id AND i.number = f.number
WHERE i.model = ? AND i.shape = ? AND f.time <= ? ORDER BY i.id, i.number
"""


def newest(log_location: str) -> float | None:
    """Return the time of the newest feedback, in seconds since 1970; None without feedback.

    Args:
        log_location: path of an SQLite file, which need not exist, or URL of a PostgreSQL database.

    Raises:
        DataError: the file or database cannot be read as an inference log.
    """
    rows = inference_log.query(log_location, "SELECT max(time) FROM feedback", (), FIX)
    return rows[0][0] if rows else None


def read(log_location: str, until: float | None, entry: Entry, test: Split) -> Split:
    """Return the images that a data set's models classified, with the labels reported by users.

    Args:
        log_location: path of an SQLite file, which need not exist, or URL of a PostgreSQL database.
        until: time of the newest feedback used, in seconds since 1970; None means all.
        entry: the data set.
        test: its test split.

    Raises:
        DataError: the file or database cannot be read as an inference log.
    """
    shape = ",".join(map(str, entry.input_shape))
    parameters = (f"{entry.name}-classifier", f"[{shape}]", float("inf") if until is None else until)
    rows = inference_log.query(log_location, QUERY, parameters, FIX)
    test_images = {image.tobytes() for image in test.inputs}
    kept = [
        (np.frombuffer(image, np.uint8).reshape(entry.input_shape), entry.classes.index(name))
        for image, name in rows
        if image not in test_images and name in entry.classes
    ]
    if len(kept) < len(rows):
        log.warning(
            "%d images with feedback are excluded, because they are in the test split or have an unknown label",
            len(rows) - len(kept),
        )
    inputs = np.stack([image for image, _ in kept]) if kept else np.empty((0, *entry.input_shape), np.uint8)
    return Split(inputs, np.array([label for _, label in kept], np.int64))
