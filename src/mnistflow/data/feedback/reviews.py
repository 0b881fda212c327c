"""Reviews: decisions of a person about reported labels, in the database of the inference log."""

from __future__ import annotations

import time
from collections.abc import Sequence

from mnistflow.data import inference_log
from mnistflow.data.feedback.reports import FIX, Decision, Report


def record(log_location: str, reports: Sequence[Report], decision: Decision, reviewer: str, correct: str = "") -> None:
    """Store a decision about reports; all of them or, on an error, none.

    Args:
        log_location: path of an SQLite file or URL of a PostgreSQL database.
        reports: those decided on.
        decision: whether they become training examples.
        reviewer: who has decided.
        correct: class in place of the reported one; empty keeps that.

    Raises:
        DataError: the file or database cannot be written.
    """
    now = time.time()
    # Never before the report, even if another machine's clock, ahead of this one, has given it its time.
    rows = [
        (report.id, report.number, max(now, report.time), decision, correct or report.class_name, reviewer)
        for report in reports
    ]
    inference_log.store_reviews(log_location, rows, FIX)
