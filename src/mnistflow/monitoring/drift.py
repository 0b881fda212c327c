"""Drift: e-values of the distance between a sample of traffic and the reference.

A reference has one or more parts, each a sample of one kind of traffic. No drift means that the traffic is distributed
as any mixture of them: its distribution functions lie in the band between the lowest and the highest of the parts.

A reference is a sample too. Against a fixed one, the p-values of an ordinary two-sample test are all too small together
or too large together, so they may not be multiplied over looks. Here the error of the reference is bounded once, for
ever, by the inequality of Dvoretzky, Kiefer, Wolfowitz and Massart; beyond that, p-values of different looks are valid
given everything before (conditional conformal test martingales, arXiv:2602.13848, take the same way).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from mnistflow.arrays import Array
from mnistflow.monitoring import detection
from mnistflow.monitoring.detection import EValues

# Probability that the bound on the error of a reference does not hold, over everything that is compared with it.
BOUND_FAILURE_PROBABILITY = 0.001


def distances(parts: Sequence[Array], sample: Array, errors: Sequence[float] | None = None) -> Array:
    """Return how far the distribution function of each column leaves the band of the reference's, `[k]`.

    With one part, that is the Kolmogorov-Smirnov distance.

    Args:
        parts: of the reference: `[m, k]` each, every column in ascending order.
        sample: `[n, k]`.
        errors: by which the band is wider on either side, one a part; None for no errors.
    """
    widths = errors or [0.0] * len(parts)
    columns = range(sample.shape[1])
    return np.array([_distance([part[:, k] for part in parts], np.sort(sample[:, k]), widths) for k in columns])


def _distance(parts: Sequence[Array], sample: Array, errors: Sequence[float]) -> float:
    """Return the largest distance of a distribution function to a band; it is next to a value of the sample."""
    found = []
    for side in ("left", "right"):
        share = np.searchsorted(sample, sample, side) / len(sample)
        shares = [np.searchsorted(part, sample, side) / len(part) for part in parts]
        above = share - np.max([one + error for one, error in zip(shares, errors, strict=True)], axis=0)
        below = np.min([one - error for one, error in zip(shares, errors, strict=True)], axis=0) - share
        found += [above.max(), below.max()]
    return float(max(found))


def reference_error(size: int, compared: int) -> float:
    """Return the bound on the distance of a reference to the distribution that it was drawn from.

    Args:
        size: number of examples of the reference.
        compared: number of columns, to all of which the bound applies together.
    """
    return math.sqrt(math.log(2 * compared / BOUND_FAILURE_PROBABILITY) / (2 * size))


def e_values(parts: Sequence[Array], sample: Array, tolerance: float) -> tuple[EValues, Array]:
    """Return an e-value against "no drift" for each column, and the distances.

    Args:
        parts: of the reference: `[m, k]` each, every column in ascending order.
        sample: `[n, k]`.
        tolerance: distance that counts as no drift.
    """
    compared = len(parts) * sample.shape[1]
    beyond = distances(parts, sample, [reference_error(len(part), compared) for part in parts])
    return e_values_of_distances(beyond, tolerance, len(sample)), distances(parts, sample)


def e_values_of_distances(found: Array, allowed: float, size: int) -> EValues:
    """Return an e-value of each distance of a sample to a reference.

    Args:
        found: the distances, of any shape.
        allowed: distance that is no evidence.
        size: number of examples of the sample.
    """
    p_values = 2 * np.exp(-2 * size * np.maximum(found - allowed, 0) ** 2)
    return detection.e_values_of(np.minimum(p_values, 1))


def e_values_of_shares(parts: Array, sample: Array, tolerance: float) -> tuple[EValues, Array]:
    """Return an e-value against "a share as in the reference" for each class, and the differences of the shares.

    The p-values are those of exact binomial tests at the ends of the exact (Clopper-Pearson) intervals of the parts.

    Args:
        parts: number of examples of each class in each part of the reference, `[parts, k]`.
        sample: the same of the traffic, `[..., k]`.
        tolerance: difference of a share that counts as no drift.
    """
    from scipy.stats import beta, binom

    size, total = sample.sum(axis=-1, keepdims=True), parts.sum(axis=1, keepdims=True)
    tail = BOUND_FAILURE_PROBABILITY / (2 * parts.size)
    low = np.where(parts == 0, 0, beta.ppf(tail, parts, total - parts + 1)).min(axis=0) - tolerance
    high = np.where(parts == total, 1, beta.isf(tail, parts + 1, total - parts)).max(axis=0) + tolerance
    few = binom.cdf(sample, size, low.clip(0, 1))
    many = binom.sf(sample - 1, size, high.clip(0, 1))
    p_values = np.minimum(2 * np.minimum(few, many), 1)
    share, shares = sample / size, parts / total
    outside = np.maximum(share - shares.max(axis=0), shares.min(axis=0) - share)
    return detection.e_values_of(p_values), np.maximum(outside, 0)
