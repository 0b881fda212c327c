"""Reviews: reported labels that wait for the decision of a person, and these decisions, in the inference log."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import orjson

from serving.errors import ConflictError, InvalidRequestError, UnknownRequestError
from serving.inference_log.store import LogStore

Decision = Literal["accept", "reject"]

MAX_REPORTS_READ = 1000  # reports among which the most doubtful ones are looked for: the newest ones
# Feedback that came after its review waits for another one.
WAITS = """
FROM feedback f JOIN inferences i ON i.id = f.id AND i.number = f.number
LEFT JOIN reviews r ON r.id = f.id AND r.number = f.number AND r.time >= f.time WHERE r.id IS NULL
"""
COUNT = f"SELECT count(*) {WAITS}"
WAITING = f"""
SELECT i.id, i.number, f.time, i.model, i.version, i.image, i.shape, i.classes, i.probabilities, f.label, f.class_name,
f.source {WAITS} ORDER BY f.time DESC LIMIT {MAX_REPORTS_READ}
"""
REPORTED = """
SELECT f.time, i.classes FROM feedback f JOIN inferences i ON i.id = f.id AND i.number = f.number
WHERE f.id = ? AND f.number = ?
"""
UPSERT = """
INSERT INTO reviews (id, number, time, decision, class_name, reviewer) VALUES (?, ?, ?, ?, ?, ?)
ON CONFLICT (id, number) DO UPDATE SET time = excluded.time, decision = excluded.decision,
    class_name = excluded.class_name, reviewer = excluded.reviewer
"""
WITHDRAW = "DELETE FROM reviews WHERE id = ? AND number = ?"


@dataclass(frozen=True, slots=True)
class WaitingReport:
    """An image with the label that a user has reported, not reviewed yet.

    Attributes:
        id: of the request.
        number: index of the image in the request, from 0.
        time: of the report, in seconds since 1970.
        model: name of the model that answered.
        version: of that model.
        image: grey levels, rows of columns.
        classes: of the model.
        answered: class that the model answered.
        class_name: class that was reported.
        probability: that the model gave to the reported class.
        source: name of the sender; empty if it is not known.
    """

    id: str
    number: int
    time: float
    model: str
    version: int
    image: list[list[int]]
    classes: list[str]
    answered: str
    class_name: str
    probability: float
    source: str


@dataclass(frozen=True, slots=True)
class Review:
    """A person's decision about a report.

    Attributes:
        id: of the request.
        number: index of the image in the request, from 0.
        time: of the report, as it was shown; another one means that it has been replaced.
        decision: None takes the decision back.
        class_name: class that the image has; kept only with `accept`.
    """

    id: str
    number: int
    time: float
    decision: Decision | None
    class_name: str


def waiting(store: LogStore, limit: int) -> tuple[int, list[WaitingReport]]:
    """Return how many reports wait, and the most doubtful ones: those whose class the model gave least probability."""
    ((count,),) = store.read(COUNT)
    doubtful = sorted(map(_probability, store.read(WAITING)), key=lambda one: one[0])
    return count, [_report(row, probability) for probability, row in doubtful[:limit]]


def record(store: LogStore, review: Review, reviewer: str) -> None:
    """Store a decision, or take it back.

    Raises:
        UnknownRequestError: there is no such report.
        ConflictError: another one has replaced it.
        InvalidRequestError: the model that answered has no such class.
    """
    key = (review.id, review.number)
    found = store.read(REPORTED, key)
    if not found:
        raise UnknownRequestError("the inference log has no feedback with this id")
    ((reported, classes),) = found
    if reported != review.time:
        raise ConflictError("this feedback has been replaced since it was shown: review it again")
    if review.class_name not in orjson.loads(classes):
        raise InvalidRequestError(f"class_name must be one of: {', '.join(orjson.loads(classes))}")
    if review.decision is None:
        store.write(WITHDRAW, [key])
    else:
        # Never before the report, even if another machine's clock, ahead of this one, has given it its time.
        moment = max(time.time(), reported)
        store.write(UPSERT, [(*key, moment, review.decision, review.class_name, reviewer)])


def _probability(row: Sequence[Any]) -> tuple[float, Sequence[Any]]:
    *_, probabilities, label, _, _ = row
    return orjson.loads(probabilities)[label], row


def _report(row: Sequence[Any], probability: float) -> WaitingReport:
    id_, number, moment, model, version, image, shape, classes, probabilities, _, class_name, source = row
    names, shares = orjson.loads(classes), orjson.loads(probabilities)
    _, width = orjson.loads(shape)
    pixels = bytes(image)
    return WaitingReport(
        id=id_,
        number=number,
        time=moment,
        model=model,
        version=version,
        image=[list(pixels[start : start + width]) for start in range(0, len(pixels), width)],
        classes=names,
        answered=names[shares.index(max(shares))],
        class_name=class_name,
        probability=probability,
        source=source,
    )
