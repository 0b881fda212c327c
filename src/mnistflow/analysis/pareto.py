"""Pareto front: those that no other is at least as good as in every respect and better than in one."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import TypeVar

Key = TypeVar("Key", bound=Hashable)


def front(merits: Mapping[Key, tuple[float, ...]]) -> set[Key]:
    """Return the keys of the front.

    Args:
        merits: values in each respect, larger ones being better.
    """
    return {key for key, own in merits.items() if not any(_dominates(other, own) for other in merits.values())}


def _dominates(other: tuple[float, ...], own: tuple[float, ...]) -> bool:
    return other != own and all(theirs >= mine for theirs, mine in zip(other, own, strict=True))
