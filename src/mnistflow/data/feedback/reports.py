"""Reports: images of the inference log with the label that a user has reported, and with the decision of a review."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from mnistflow.arrays import Array
from mnistflow.data import catalog, inference_log, raw
from mnistflow.data.config import PrepareConfig
from mnistflow.data.entry import Entry, source_of
from mnistflow.errors import ConfigError
from mnistflow.paths import Paths
from mnistflow.splits import Split
from mnistflow.tasks import identity

Decision = Literal["accept", "reject"]

FIX = "Correct prepare.feedback, or set it to null to use no feedback. A server upgrades the log of an older one."


@dataclass(frozen=True, eq=False)
class Report:
    """An image with its reported label.

    Attributes:
        id: of the request.
        number: index of the image in the request, from 0.
        time: of the feedback, in seconds since 1970.
        image: uint8 `[height, width]`.
        answered: class that the model answered.
        class_name: class that the user reported, or that the review has put in its place.
        source: name of the sender; empty if it is not known.
        decision: of the review; None without one. Feedback that came after the review waits for another.
    """

    id: str
    number: int
    time: float
    image: Array
    answered: str
    class_name: str
    source: str
    decision: Decision | None

    @property
    def key(self) -> str:
        """How commands name the report: `ID`, or `ID:NUMBER` for another image than the first of its request."""
        return f"{self.id}:{self.number}" if self.number else self.id


@dataclass(frozen=True, eq=False)
class FeedbackReports:
    """Feedback on a data set.

    Attributes:
        log: path or URL of the inference log.
        entry: the data set.
        reports: all of them.
    """

    log: str
    entry: Entry
    reports: Sequence[Report]


def images(reports: Sequence[Report], entry: Entry) -> Array:
    """Return the images of reports on a data set: uint8 `[n, height, width]`."""
    found = [report.image for report in reports]
    return np.stack(found) if found else np.empty((0, *entry.input_shape), np.uint8)


def as_examples(reports: Sequence[Report], entry: Entry) -> Split:
    """Return the images of reports on a data set, uint8 `[n, height, width]`, with the reported labels."""
    targets = np.array([entry.classes.index(report.class_name) for report in reports], np.int64)
    return Split(images(reports, entry), targets)


def location(paths: Paths, config: PrepareConfig) -> str | None:
    """Return the path or URL of the inference log with feedback; None if feedback is not used."""
    if config.feedback is None or "://" in config.feedback:
        return config.feedback
    return str((paths.checkout / Path(config.feedback).expanduser()).resolve())


def newest(log_location: str) -> float | None:
    """Return the time of the newest feedback or review, in seconds since 1970; None without feedback.

    What a clock that was ahead has stamped with a time in the future counts from that time on: until then, it would
    hide all that follows.

    Args:
        log_location: path of an SQLite file, which need not exist, or URL of a PostgreSQL database.

    Raises:
        DataError: the file or database cannot be read as an inference log.
    """
    return inference_log.newest_feedback(log_location, time.time(), FIX)


def read(log_location: str, until: float | None, entry: Entry) -> list[Report]:
    """Return the reports on images that a data set's models have classified, sorted by their key.

    Args:
        log_location: path of an SQLite file, which need not exist, or URL of a PostgreSQL database.
        until: time of the newest feedback and review used, in seconds since 1970; None means all.
        entry: the data set.

    Raises:
        DataError: the file or database cannot be read as an inference log.
    """
    if not entry.classes:
        # A report names a class.
        return []
    latest = float("inf") if until is None else until
    name = identity.get(entry.task).model_name(source_of(entry.name))
    return [
        Report(
            id=id,
            number=number,
            time=time,
            image=np.frombuffer(image, np.uint8).reshape(entry.input_shape),
            answered=inference_log.predicted_class(classes, probabilities),
            class_name=corrected or reported,
            source=source,
            decision=decision,
        )
        for id, number, time, image, classes, probabilities, reported, source, decision, corrected in (
            inference_log.reports(log_location, name, entry.input_shape, latest, FIX)
        )
    ]


def read_all(paths: Paths, config: PrepareConfig) -> FeedbackReports:
    """Return all feedback on the data set that was fetched last.

    Args:
        paths: of the checkout.
        config: section `prepare` of params.yaml.

    Raises:
        ConfigError: `prepare.feedback` is null.
        DataError: the data set was not fetched, or the log cannot be read.
    """
    log = location(paths, config)
    if log is None:
        raise ConfigError("prepare.feedback is null", "Set it to the inference log of a server.")
    fetched = raw.load(paths.raw)
    entry = catalog.described(fetched.name, fetched.classes)
    return FeedbackReports(log, entry, read(log, None, entry))
