"""Ledger of a registered model: every version that became champion, when, by whom, why, and whom it replaced.

It is read from the lines that versions keep in MLflow's registry, where lines are only ever added.
"""

from __future__ import annotations

from dataclasses import dataclass

from mnistflow.registry import history, versions


@dataclass(frozen=True)
class Entry:
    """A change of the champion.

    Attributes:
        time: ISO 8601, UTC.
        version: the new champion.
        replaced: the champion before; None for the first.
        by: `gate`, `hand`, `rollback`, or `MLflow` for a choice in its UI.
        who: user and machine; empty if unknown.
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
    known = history.events(versions.all_versions(name))
    before: list[int | None] = [None, *(event.number for event in known)]
    return [
        Entry(event.moment, event.number, replaced, event.by, event.who, event.reason)
        for replaced, event in zip(before, known, strict=False)
    ]
