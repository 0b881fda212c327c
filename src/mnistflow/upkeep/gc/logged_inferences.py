"""Garbage of the inference log: old rows without feedback.

Rows with feedback are training data and stay. So does the newest row, because the rows after it get numbers above its
own, which the monitoring relies on. A SQLite file does not become smaller: the server fills the free pages again.
"""

from __future__ import annotations

from datetime import datetime
from typing import LiteralString

from mnistflow.data import inference_log
from mnistflow.retention import RetentionConfig
from mnistflow.upkeep.gc.garbage import Garbage, cutoff, younger_than

KIND = "rows of the inference log"
FEEDBACK = "with feedback"
BATCH = 500  # rows a transaction: the server waits at most that long

_HAS_FEEDBACK: LiteralString = (
    "EXISTS (SELECT 1 FROM feedback WHERE feedback.id = inferences.id AND feedback.number = inferences.number)"
)
_OLD: LiteralString = (
    f"FROM inferences WHERE time < ? AND NOT {_HAS_FEEDBACK} AND rowid < (SELECT max(rowid) FROM inferences)"  # noqa: S608
)
_COUNT: LiteralString = (
    f"SELECT count(*), coalesce(sum(length(image) + length(classes) + length(probabilities)), 0) {_OLD}"
)
_KEPT: LiteralString = f"SELECT {_HAS_FEEDBACK}, count(*) FROM inferences GROUP BY 1"  # noqa: S608
_DELETE: LiteralString = f"DELETE FROM inferences WHERE rowid IN (SELECT rowid {_OLD} LIMIT ?)"  # noqa: S608


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
    found = inference_log.query(location, _COUNT, (before,))
    if not found:
        return Garbage(KIND, (), 0, 0)
    count, size = int(found[0][0]), int(found[0][1])
    rows = {bool(has_feedback): int(number) for has_feedback, number in inference_log.query(location, _KEPT, ())}
    kept = {FEEDBACK: rows.get(True, 0), younger_than(retention.inferences): rows.get(False, 0) - count}
    if delete and count:
        _delete(location, before)
    return Garbage(KIND, (), count, size, {reason: number for reason, number in kept.items() if number})


def _delete(location: str, before: float) -> None:
    deleted = BATCH
    while deleted == BATCH:
        deleted = inference_log.execute(location, _DELETE, [(before, BATCH)])
