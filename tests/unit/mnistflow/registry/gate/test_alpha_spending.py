"""Levels of comparisons, and what they keep over years of candidates that are no better."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest
from scipy.stats import binom

from mnistflow.registry.gate import alpha_spending
from mnistflow.registry.gate.alpha_spending import Spent

BUDGET = 0.05
START = datetime(2026, 1, 1, tzinfo=UTC)


def levels(days: list[float]) -> list[Spent]:
    spent: list[Spent] = []
    for day in days:
        now = START + timedelta(days=day)
        spent.append(Spent(now, alpha_spending.next_level(BUDGET, spent, now)))
    return spent


@pytest.mark.slow
@pytest.mark.parametrize("a_year", [1, 12, 100, pytest.param(1000, marks=pytest.mark.long)])
def test_no_365_days_spend_more_than_the_budget(a_year: int) -> None:
    spent = levels([365 * number / a_year for number in range(3 * a_year)])
    for first in spent:
        window = [one.level for one in spent if timedelta() <= one.time - first.time < timedelta(days=365)]
        assert sum(window) <= BUDGET + 1e-12
    assert all(one.level > 0 for one in spent)


def test_many_comparisons_at_once_get_less_each_and_the_reserve_comes_back() -> None:
    spent = levels([*range(20), 385, 800])
    assert spent[0].level == pytest.approx(BUDGET / 4)
    assert spent[19].level < spent[0].level / 50
    assert spent[20].level == pytest.approx(spent[0].level, rel=0.01)


def test_regular_comparisons_have_the_same_level_each() -> None:
    steady = [one.level for one in levels([3.65 * number for number in range(400)])[200:]]
    assert steady == pytest.approx([BUDGET / 2 / 100] * 200, rel=1e-3)


def test_a_hundred_candidates_a_year_that_are_no_better() -> None:
    """McNemar's test at the levels of three years, and at the same level each time."""
    generator = np.random.default_rng(0)
    spent = levels([3.65 * number for number in range(300)])[200:]
    kept, constant, years = 0, 0, 2000
    for _ in range(years):
        differing = generator.poisson(60, len(spent))
        wins = generator.binomial(differing, 0.5)
        p_values = binom.sf(wins - 1, differing, 0.5)
        kept += bool(np.any(p_values < [one.level for one in spent]))
        constant += bool(np.any(p_values < BUDGET / 2))
    assert kept / years <= BUDGET
    assert constant / years > 0.7
