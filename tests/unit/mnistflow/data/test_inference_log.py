"""The pipeline's queries on the tables that the server creates: the inference log is a contract between the two."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cluster import BINARIES, postgresql

from mnistflow.data import inference_log
from mnistflow.errors import DataError
from serving.inference_log.store import Feedback, LogStore

CLASSES = json.dumps(["a", "b"])
ANSWERS = [json.dumps(answer) for answer in ([0.9, 0.1], [0.2, 0.8], [0.3, 0.7], [0.6, 0.4])]
IMAGES = [bytes([number] * 6) for number in range(4)]
SOURCE = inference_log.Source("letters-classifier", 3, (2, 3))


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=[pytest.mark.slow, pytest.mark.skipif(not BINARIES, reason="not installed")]),
    ]
)
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "inferences.db")
    else:
        with postgresql() as url:
            yield url


@pytest.fixture
def log(location: str) -> str:
    """A log with four images, of which the second and the fourth have feedback."""
    store = LogStore(location)
    for number, (image, answer) in enumerate(zip(IMAGES, ANSWERS, strict=True)):
        store.insert([(f"id{number}", 0, float(number), SOURCE.model, SOURCE.version, image, "[2,3]", CLASSES, answer)])
    for key, name in (("id1", "a"), ("id3", "a")):
        store.record_feedback(Feedback(key, 0, name), "ada")
    store.close()
    return location


def test_images_and_predictions(log: str) -> None:
    first, last = inference_log.last_row(log) - 3, inference_log.last_row(log)
    assert inference_log.count_images(log, SOURCE, first) == 3
    assert inference_log.count_images(log, inference_log.Source(SOURCE.model, 4, (2, 3)), 0) == 0
    found = inference_log.images(log, SOURCE, first, last, 2)
    assert [(bytes(image), answer) for image, answer in found] == [(IMAGES[3], ANSWERS[3]), (IMAGES[2], ANSWERS[2])]


def test_feedback_and_its_reviews(log: str) -> None:
    reports = inference_log.reports(log, SOURCE.model, SOURCE.shape, float("inf"))
    assert [(key, *rest) for key, _, _, _, _, _, *rest in reports] == [
        ("id1", "a", "ada", None, None),
        ("id3", "a", "ada", None, None),
    ]
    (_, _, reported, *_), _ = reports
    reviews = [("id1", 0, reported + 1, "accept", "b", "bob"), ("id3", 0, reported + 2, "reject", "a", "bob")]
    inference_log.store_reviews(log, reviews)
    assert inference_log.newest_feedback(log, reported + 1.5) == reported + 1
    decided = inference_log.reports(log, SOURCE.model, SOURCE.shape, float("inf"))
    assert [row[-2:] for row in decided] == [("accept", "b"), ("reject", "a")]
    assert [row[:3] for row in inference_log.labels(log, SOURCE, 0)] == [(ANSWERS[1], CLASSES, "b")]
    labelled = inference_log.labelled_images(log, SOURCE, since=1.0, limit=9)
    assert [(bytes(image), *rest) for image, *rest in labelled] == [(IMAGES[1], CLASSES, ANSWERS[1], "b")]


def test_old_rows(log: str) -> None:
    assert inference_log.count_by_feedback(log) == {True: 2, False: 2}
    size = len(IMAGES[0]) + len(CLASSES)
    assert inference_log.count_old(log, 2.5) == (2, 2 * size + len(ANSWERS[0]) + len(ANSWERS[2]))
    assert [inference_log.delete_old(log, 2.5, limit=1) for _ in range(3)] == [1, 1, 0]
    assert inference_log.count_by_feedback(log) == {True: 2}


def test_an_empty_log(location: str) -> None:
    LogStore(location).close()
    assert inference_log.last_row(location) == inference_log.count_images(location, SOURCE, 0) == 0
    assert inference_log.newest_feedback(location, 1.0) is None
    assert inference_log.count_old(location, 1.0) == (0, 0)


def test_a_file_that_does_not_exist_is_an_empty_log_and_another_file_is_an_error(tmp_path: Path) -> None:
    missing, other = str(tmp_path / "missing.db"), tmp_path / "other.db"
    assert inference_log.last_row(missing) == 0
    assert inference_log.newest_feedback(missing, 1.0) is inference_log.count_old(missing, 1.0) is None
    assert inference_log.reports(missing, SOURCE.model, SOURCE.shape, 1.0) == []
    other.write_text("no database")
    with pytest.raises(DataError, match="is not the inference log of a server"):
        inference_log.last_row(str(other))
