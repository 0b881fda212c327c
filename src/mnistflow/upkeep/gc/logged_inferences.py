"""Garbage of the inference log: old rows without feedback.

Rows with feedback are training data and stay, and the newest row stays too. A SQLite file does not become smaller: the
server fills the free pages again.
"""

from __future__ import annotations

from datetime import datetime

from mnistflow.data import inference_log
from mnistflow.retention import RetentionConfig
from mnistflow.upkeep.gc.garbage import Garbage, cutoff, younger_than

KIND = "rows of the inference log"
FEEDBACK = "with feedback"
BATCH = 500  # rows a transaction: the server waits at most that long


def collect(location: str, retention: RetentionConfig, now: datetime, *, delete: bool) -> Garbage:
    """Find old rows without feedback, and remove them if asked to.

    Args:
        location: path of an SQLite file, or URL of a PostgreSQL database.
        retention: section `gc` of params.yaml.
        now: time that ages are measured at.
        delete: whether to remove them.

    Raises:
        DataError: the log cannot be read or written.
    """
    before = cutoff(now, retention.inferences).timestamp()
    found = inference_log.count_old(location, before)
    if found is None:
        return Garbage(KIND, (), 0, 0)
    count, size = found
    rows = inference_log.count_by_feedback(location)
    kept = {FEEDBACK: rows.get(True, 0), younger_than(retention.inferences): rows.get(False, 0) - count}
    if delete and count:
        _delete(location, before)
    return Garbage(KIND, (), count, size, {reason: number for reason, number in kept.items() if number})


def _delete(location: str, before: float) -> None:
    deleted = BATCH
    while deleted == BATCH:
        deleted = inference_log.delete_old(location, before, BATCH)
