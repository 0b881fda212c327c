"""Garbage: unreferenced objects of one kind, and why the others stay."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path


@dataclass(frozen=True)
class Garbage:
    """Unreferenced objects of one kind that may be removed, or were.

    Attributes:
        kind: such as `MLflow runs`.
        names: of the objects; empty for rows of a database.
        count: number of the objects.
        bytes: their size; None if unknown.
        kept: reasons why others stay, and how many stay for each.
    """

    kind: str
    names: tuple[str, ...]
    count: int
    bytes: int | None
    kept: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, kind: str, sizes: Mapping[str, int], kept: Iterable[str]) -> Garbage:
        """Return garbage of which each entry has a name and a size.

        Args:
            kind: such as `MLflow runs`.
            sizes: bytes of each entry, by its name.
            kept: why each other entry stays.
        """
        reasons = dict(sorted(Counter(kept).items(), key=lambda pair: (-pair[1], pair[0])))
        return cls(kind, tuple(sizes), len(sizes), sum(sizes.values()), reasons)


def cutoff(now: datetime, days: int) -> datetime:
    """Return the time before which an object is old enough to be removed."""
    return now - timedelta(days=days)


def younger_than(days: int) -> str:
    """Return the reason to keep an object that is younger."""
    return f"younger than {days} days"


def size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder; 0 of what has gone meanwhile."""
    paths = path.rglob("*") if path.is_dir() and not path.is_symlink() else (path,)
    return sum(_bytes(one) for one in paths)


def last_use(path: Path) -> datetime:
    """Return when a file, or a folder or anything in it, was written last."""
    times = [_modified(one) for one in (path, *path.rglob("*"))]
    return datetime.fromtimestamp(max(times), UTC)


def _bytes(path: Path) -> int:
    try:
        return 0 if path.is_dir() else path.lstat().st_size
    except FileNotFoundError:
        return 0


def _modified(path: Path) -> float:
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0
