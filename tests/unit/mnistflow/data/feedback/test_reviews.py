"""Reviews in a real inference log."""

import json
import time
from pathlib import Path

from mnistflow.data import catalog
from mnistflow.data.feedback import reports, reviews
from serving.inference_log.store import Feedback, LogStore

CLASSES = json.dumps([str(digit) for digit in range(10)])
YEAR = 365 * 86400


def test_a_report_by_a_server_whose_clock_was_ahead_can_be_reviewed_and_hides_no_later_one(tmp_path: Path) -> None:
    log = tmp_path / "inferences.db"
    store = LogStore(str(log))
    for key in ("ahead", "true"):
        answer = ("digits-classifier", 1, bytes(784), "[28,28]", CLASSES, json.dumps([0.1] * 10))
        store.insert([(key, 0, time.time(), *answer)])
        store.record_feedback(Feedback(key, 0, "3"), "")
    store.write("UPDATE feedback SET time = time + ? WHERE id = ?", [(YEAR, "ahead")])
    store.close()
    newest = reports.newest(str(log))
    assert newest
    assert newest <= time.time()  # later feedback is newer than this
    reviews.record(str(log), reports.read(str(log), None, catalog.get("digits")), "accept", "ada@laptop")
    decided = reports.read(str(log), None, catalog.get("digits"))
    assert [(report.key, report.decision) for report in decided] == [("ahead", "accept"), ("true", "accept")]
