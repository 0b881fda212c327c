"""History of a model's champions: who served before whom, read from the lines that each version keeps."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mnistflow.registry.versions import Version

By = Literal["gate", "hand", "rollback", "MLflow"]
_BECAME = " became champion by "


def line(by: str, who: str = "", because: str = "") -> str:
    """Return the line that a version's history gets when it becomes champion now.

    Args:
        who: user and machine; empty if nobody knows.
        because: the reason, of which line breaks become spaces; empty if none was given.
    """
    became = f"{datetime.now(UTC).isoformat(timespec='milliseconds')}{_BECAME}{by}"
    reason = " ".join(because.split())
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


def latest_champion(versions: Iterable[Version]) -> int | None:
    """Return the version that became champion last, or None when none ever did."""
    succession = _succession(versions)
    return succession[-1] if succession else None


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
