"""Confidence intervals of shares."""

from __future__ import annotations

from math import sqrt
from statistics import NormalDist
from typing import TypeAlias

CONFIDENCE = 0.95
Interval: TypeAlias = tuple[float, float]


def wilson(errors: int, rows: int) -> Interval:
    """Return the 95 % interval of the share of correct predictions (Wilson 1927), which holds near 100 % too.

    Args:
        errors: number of wrong predictions.
        rows: number of predictions; at least 1.
    """
    z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)
    share = (rows - errors) / rows
    scale = 1 + z**2 / rows
    centre = (share + z**2 / (2 * rows)) / scale
    half = z * sqrt(share * (1 - share) / rows + (z / (2 * rows)) ** 2) / scale
    # In exact arithmetic the share is between the ends, and they stay within 0 and 1.
    return max(0.0, min(share, centre - half)), min(1.0, max(share, centre + half))
