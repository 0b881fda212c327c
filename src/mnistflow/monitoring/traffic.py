"""Traffic: logged images, predictions and feedback of one version since an earlier look."""

from __future__ import annotations

import json
from dataclasses import dataclass

import numpy as np

from mnistflow.arrays import Array, Outputs
from mnistflow.data import inference_log
from mnistflow.registry.versions import Version


@dataclass(frozen=True)
class Cursor:
    """How far the log was read, in row numbers: times can be those of a clock that was ahead.

    Attributes:
        row: of the last image.
        feedback_row: of the last feedback. A report that replaces another keeps its row, so each image counts once.
    """

    row: int = 0
    feedback_row: int = 0


@dataclass(frozen=True)
class Traffic:
    """Images, predictions and feedback of a version.

    Attributes:
        images: uint8 `[n, height, width]`, the newest first.
        probabilities: float32 `[n, classes]`.
        right: whether the predicted class equals the feedback, bool `[labelled]`.
        cursor: after this.
    """

    images: Array
    probabilities: Outputs
    right: Array
    cursor: Cursor


def waiting(location: str, version: Version, shape: tuple[int, ...], since: Cursor) -> int:
    """Return how many images were logged for a version since an earlier look.

    Args:
        location: path of an SQLite file, which need not exist, or URL of a PostgreSQL database.
        version: the one that made the predictions.
        shape: of an image.
        since: how far the log was read.

    Raises:
        DataError: the file or database cannot be read as an inference log.
    """
    return inference_log.count_images(location, _source(version, shape), since.row)


def read(location: str, version: Version, shape: tuple[int, ...], since: Cursor, limit: int) -> Traffic:
    """Return the requests logged for a version since an earlier look.

    Args:
        location: path of an SQLite file, which need not exist, or URL of a PostgreSQL database.
        version: the one that made the predictions.
        shape: of an image.
        since: how far the log was read.
        limit: largest number of images; the newest ones are returned.

    Raises:
        DataError: the file or database cannot be read as an inference log.
    """
    source = _source(version, shape)
    last = inference_log.last_row(location)
    rows = inference_log.images(location, source, since.row, last, limit)
    labels = inference_log.labels(location, source, since.feedback_row)
    right = [inference_log.predicted_class(names, answer) == label for answer, names, label, _ in labels]
    images = [np.frombuffer(image, np.uint8).reshape(shape) for image, _ in rows]
    return Traffic(
        images=np.stack(images) if images else np.empty((0, *shape), np.uint8),
        probabilities=np.array([json.loads(answer) for _, answer in rows], np.float32),
        right=np.array(right, bool),
        cursor=Cursor(last, labels[-1][3] if labels else since.feedback_row),
    )


def _source(version: Version, shape: tuple[int, ...]) -> inference_log.Source:
    return inference_log.Source(version.name, version.number, shape)
