"""Pareto front of any number of respects."""

import math

from mnistflow.analysis import pareto


def test_what_another_dominates_is_not_on_the_front() -> None:
    merits = {"best": (1.0, 2.0), "worse": (1.0, 1.0), "other": (0.5, 3.0), "unknown": (0.9, -math.inf)}
    assert pareto.front(merits) == {"best", "other"}


def test_equals_are_both_on_the_front() -> None:
    assert pareto.front({1: (1.0, 2.0), 2: (1.0, 2.0)}) == {1, 2}
    assert pareto.front({}) == set()
