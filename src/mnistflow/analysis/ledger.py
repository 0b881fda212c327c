"""Ledger of a registered model: every version that became champion, when, by whom, why, and whom it replaced.

It is read from the lines that versions keep in MLflow's registry, where lines are only ever added.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from mnistflow.registry import versions

_LINE = re.compile(r"(?P<time>\S+) became champion by (?P<by>\w+)(?: \((?P<who>[^)]*)\))?(?:: (?P<because>.*))?")


@dataclass(frozen=True)
class Entry:
    """A change of the champion.

    Attributes:
        time: ISO 8601, UTC.
        version: the new champion.
        replaced: the champion before; None for the first.
        by: `gate`, `hand`, `rollback`, or `MLflow` for a choice in its UI.
        who: user and machine; empty if nobody knows.
        because: the reason; empty if none was given.
    """

    time: str
    version: int
    replaced: int | None
    by: str
    who: str
    because: str


def read(name: str) -> list[Entry]:
    """Return the changes of the champion of a registered model, oldest first."""
    found = [
        (datetime.fromisoformat(match["time"]), version.number, match)
        for version in versions.all_versions(name)
        for line in version.history
        if (match := _LINE.fullmatch(line))
    ]
    found.sort(key=lambda entry: entry[:2])
    before: list[int | None] = [None, *(number for _, number, _ in found)]
    return [
        Entry(match["time"], number, replaced, match["by"], match["who"] or "", match["because"] or "")
        for replaced, (_, number, match) in zip(before, found, strict=False)
    ]
