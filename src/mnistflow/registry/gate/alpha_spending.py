"""Alpha spending: a level for each comparison, such that a year of comparisons keeps the level of the gate.

All comparisons use the same test split. At 5 % a comparison, 100 candidates that are no better than the champion would
bring 2.5 wrong promotions a year. Each comparison therefore spends half of a reserve, which is refilled evenly:
it holds at most half of `gate.significance`, and a year brings the other half. So the levels within any 365 days sum to
at most `gate.significance`, and by the union bound this is also the chance of a wrong promotion in them.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from mnistflow.errors import RegistryError
from mnistflow.registry.versions import TAG, Version
from mnistflow.tracking.client import mlflow_client
from mnistflow.tracking.records import StoredVersion
from mnistflow.tracking.store import open_store

YEAR = timedelta(days=365)
RESERVE = 0.5  # share of a year's level that may be held; the rest is refilled within a year
SHARE = 0.5  # of the reserve, for the next comparison
SPENT_TAG = TAG + "spent"
MAX_LINES = 40  # in the tag of a version, which has room for 5,000 characters


@dataclass(frozen=True)
class Spent:
    """The level of a comparison.

    Attributes:
        time: of the comparison, with a time zone.
        level: largest one-sided p-value that would have promoted the candidate.
    """

    time: datetime
    level: float


def next_level(budget: float, earlier: Iterable[Spent], now: datetime) -> float:
    """Return the level of a comparison.

    Args:
        budget: chance of promoting a model that is no better, within any 365 days.
        earlier: all comparisons before.
        now: time of the comparison.
    """
    full, a_year = RESERVE * budget, (1 - RESERVE) * budget
    reserve, last = full, now
    for one in sorted(earlier, key=lambda one: one.time):
        reserve = _refilled(reserve, full, a_year * max((one.time - last) / YEAR, 0.0))
        reserve, last = max(reserve - one.level, 0.0), one.time
    return SHARE * _refilled(reserve, full, a_year * max((now - last) / YEAR, 0.0))


def _refilled(reserve: float, full: float, added: float) -> float:
    return min(full, reserve + added)


def spent(name: str) -> list[Spent]:
    """Return the comparisons of the versions of a registered model, which tag `mnistflow.spent` of each stores.

    Raises:
        RegistryError: the tag of a version is damaged.
    """
    return [one for stored in open_store().versions(name) for one in comparisons_of(stored)]


def comparisons_of(version: StoredVersion) -> list[Spent]:
    """Return the comparisons of a version.

    Raises:
        RegistryError: its tag is damaged.
    """
    return _parse(version.tags.get(SPENT_TAG, ""))


def record(version: Version, level: float) -> None:
    """Store the level that a comparison has spent in the tag of its version.

    Raises:
        RegistryError: the tag is damaged.
    """
    stored = open_store().version(version.name, version.number)
    known = comparisons_of(stored) if stored else []
    lines = [[one.time.isoformat(timespec="seconds"), one.level] for one in (*known, Spent(datetime.now(UTC), level))]
    mlflow_client().set_model_version_tag(version.name, str(version.number), SPENT_TAG, json.dumps(lines[-MAX_LINES:]))


def _parse(text: str) -> list[Spent]:
    try:
        return [Spent(datetime.fromisoformat(time), float(level)) for time, level in json.loads(text or "[]")]
    except (TypeError, ValueError) as error:
        raise RegistryError(
            f"the tag {SPENT_TAG} of a version is damaged: {text[:80]!r}", "Delete that tag in MLflow."
        ) from error
