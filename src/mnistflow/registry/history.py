"""History of a model's champions: who served before whom, read from the lines that each version keeps."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mnistflow.registry.versions import Version

By = Literal["gate", "hand", "rollback", "MLflow"]
_BECAME = " became champion by "
_LONGEST_REASON = 2000  # characters; MLflow's tables have room for 5,000 in a tag of a model


def line(by: str, who: str = "", because: str = "", after: str | None = None) -> str:
    """Return the line that a version's history gets when it becomes champion now.

    Args:
        who: user and machine; empty if nobody knows.
        because: the reason, of which line breaks become spaces; empty if none was given.
        after: the line of the champion before. The new one gets a later time, although another machine, whose clock
            may be ahead, may have written that one.
    """
    moment = datetime.now(UTC)
    if after:
        moment = max(moment, datetime.fromisoformat(after.partition(" ")[0]) + timedelta(milliseconds=1))
    became = f"{moment.isoformat(timespec='milliseconds')}{_BECAME}{by}"
    reason = " ".join(because.split())[:_LONGEST_REASON]
    return f"{became}{f' ({who})' if who else ''}{f': {reason}' if reason else ''}"


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
    lines = [
        (datetime.fromisoformat(line.partition(_BECAME)[0]), version.number, line)
        for version in versions
        for line in version.history
        if _BECAME in line
    ]
    return max(lines)[1:] if lines else None


def _word(text: str) -> str:
    """Return `by` from the end of a line, where user and reason follow it."""
    return text.partition(" ")[0].removesuffix(":")


def _succession(versions: Iterable[Version]) -> list[int]:
    """Return the champions in the order in which they last took over, without those that were rolled back."""
    events = [
        (datetime.fromisoformat(moment), version.number, _word(by))
        for version in versions
        for moment, became, by in (entry.partition(_BECAME) for entry in version.history)
        if became
    ]
    succession: list[int] = []
    for _, number, by in sorted(events):
        if by == "rollback" and succession:
            succession.pop()
        if number in succession:
            succession.remove(number)
        succession.append(number)
    return succession
