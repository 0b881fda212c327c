"""Confidence intervals, against published ones."""

import pytest

from mnistflow.tasks.intervals import wilson


@pytest.mark.parametrize(
    ("errors", "rows", "low", "high"),
    [  # Newcombe (1998), table I, method 3
        (263 - 81, 263, 0.2553, 0.3662),
        (148 - 15, 148, 0.0624, 0.1605),
        (20, 20, 0.0, 0.1611),
        (28, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_wilsons(errors: int, rows: int, low: float, high: float) -> None:
    assert wilson(errors, rows) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("errors", [0, 360])
def test_the_interval_contains_the_share(errors: int) -> None:
    low, high = wilson(errors, 360)
    assert 0 <= low <= (360 - errors) / 360 <= high <= 1
