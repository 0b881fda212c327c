"""History of a model's champions: who served before whom, read from the lines that each version keeps."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mnistflow.registry.versions import Version

ChangedBy = Literal["gate", "hand", "rollback", "MLflow"]
_BECAME = " became champion by "
_LINE = re.compile(rf"(?P<time>\S+){_BECAME}(?P<by>\w+)(?: \((?P<who>.*?)\))?(?:: (?P<reason>.*))?")
_MAX_REASON_LENGTH = 2000  # characters; MLflow's tables have room for 5,000 in a tag of a model


@dataclass(frozen=True)
class Event:
    """A version becomes champion.

    Attributes:
        moment: when, as `line` states it: ISO 8601, UTC.
        number: of the version.
        replaced: the champion before; None for the first.
        by: `gate`, `hand`, `rollback`, or `MLflow` for a choice in its UI.
        who: user and machine; empty if unknown.
        reason: why; empty if none was given.
        line: of the version's history, which says all that.
    """

    moment: str
    number: int
    by: str
    who: str
    reason: str
    line: str
    replaced: int | None = None


def events(versions: Iterable[Version]) -> list[Event]:
    """Return how versions became champion, oldest first."""
    found = [
        Event(match["time"], version.number, match["by"], match["who"] or "", match["reason"] or "", line)
        for version in versions
        for line in version.history
        if (match := _LINE.fullmatch(line))
    ]
    found.sort(key=lambda event: (datetime.fromisoformat(event.moment), event.number))
    before = [None, *(event.number for event in found)]
    return [replace(event, replaced=replaced) for event, replaced in zip(found, before, strict=False)]


def line(by: ChangedBy, who: str = "", reason: str = "", after: str | None = None) -> str:
    """Return the line that a version's history gets when it becomes champion now.

    Args:
        who: user and machine; empty if unknown.
        reason: why, empty if none was given; line breaks become spaces.
        after: the line of the champion before. The new one gets a later time, although another machine, whose clock
            may be ahead, may have written that one.
    """
    moment = datetime.now(UTC)
    if after:
        moment = max(moment, datetime.fromisoformat(after.partition(" ")[0]) + timedelta(milliseconds=1))
    became = f"{moment.isoformat(timespec='milliseconds')}{_BECAME}{by}"
    short = " ".join(reason.split())[:_MAX_REASON_LENGTH]
    return f"{became}{f' ({who})' if who else ''}{f': {short}' if short else ''}"


def earlier_champion(versions: Iterable[Version], champion: int | None) -> int | None:
    """Return the version that a rollback returns to, or None when no earlier champion is left.

    A rollback takes the version that served out of the succession for good; only a promotion brings it in again.

    Args:
        versions: all versions of a model.
        champion: the version that serves now.
    """
    succession = _succession(versions)
    if champion in succession:
        succession = succession[: succession.index(champion)]
    return succession[-1] if succession else None


def latest(versions: Iterable[Version]) -> tuple[int, str] | None:
    """Return the version that became champion last, and the line that says so; None when none ever did."""
    known = events(versions)
    return (known[-1].number, known[-1].line) if known else None


def _succession(versions: Iterable[Version]) -> list[int]:
    """Return the champions in the order in which they last took over, without those that were rolled back."""
    succession: list[int] = []
    for event in events(versions):
        if event.by == "rollback" and succession:
            succession.pop()
        if event.number in succession:
            succession.remove(event.number)
        succession.append(event.number)
    return succession
