"""Drift: e-values of the distance between a sample of traffic and the reference.

A reference is a sample too. Against a fixed one, the p-values of an ordinary two-sample test are all too small together
or too large together, so they may not be multiplied over looks. Here the error of the reference is bounded once, for
ever, by the inequality of Dvoretzky, Kiefer, Wolfowitz and Massart; beyond that, p-values of different looks are valid
given everything before (conditional conformal test martingales, arXiv:2602.13848, take the same way).
"""

from __future__ import annotations

import math

import numpy as np

from mnistflow.arrays import Array
from mnistflow.monitoring import detection
from mnistflow.monitoring.detection import EValues

UNLUCKY = 0.001  # chance that the bound on the error of a reference does not hold, over everything compared with it


def distances(reference: Array, sample: Array) -> Array:
    """Return the Kolmogorov-Smirnov distance of each column, `[k]`.

    Args:
        reference: `[m, k]`, each column in ascending order.
        sample: `[n, k]`.
    """
    return np.array([_distance(reference[:, k], np.sort(sample[:, k])) for k in range(reference.shape[1])])


def _distance(reference: Array, sample: Array) -> float:
    """Return the largest difference of two distribution functions; it is next to a value of the sample."""
    differences = [
        np.searchsorted(sample, sample, side) / len(sample) - np.searchsorted(reference, sample, side) / len(reference)
        for side in ("left", "right")
    ]
    return float(np.abs(differences).max())


def reference_error(size: int, compared: int) -> float:
    """Return the bound on the distance of a reference to the distribution that it was drawn from.

    Args:
        size: number of examples of the reference.
        compared: number of columns, to all of which the bound applies together.
    """
    return math.sqrt(math.log(2 * compared / UNLUCKY) / (2 * size))


def e_values(reference: Array, sample: Array, tolerance: float) -> tuple[EValues, Array]:
    """Return an e-value against "no drift" for each column, and the distances.

    Args:
        reference: `[m, k]`, each column in ascending order.
        sample: `[n, k]`.
        tolerance: distance that counts as no drift.
    """
    found = distances(reference, sample)
    return e_values_of_distances(found, tolerance + reference_error(*reference.shape), len(sample)), found


def e_values_of_distances(found: Array, allowed: float, size: int) -> EValues:
    """Return an e-value of each distance of a sample to a reference.

    Args:
        found: the distances, of any shape.
        allowed: distance that is no evidence.
        size: number of examples of the sample.
    """
    p_values = 2 * np.exp(-2 * size * np.maximum(found - allowed, 0) ** 2)
    return detection.e_values_of(np.minimum(p_values, 1))


def e_values_of_shares(reference: Array, sample: Array, tolerance: float) -> tuple[EValues, Array]:
    """Return an e-value against "the same share" for each class, and the differences of the shares.

    The p-values are those of exact binomial tests at the end of the reference's exact (Clopper-Pearson) interval.

    Args:
        reference: number of examples of each class, `[k]`.
        sample: the same of the traffic, `[..., k]`.
        tolerance: difference of a share that counts as no drift.
    """
    from scipy.stats import beta, binom

    size, total = sample.sum(axis=-1, keepdims=True), reference.sum()
    tail = UNLUCKY / (2 * len(reference))
    low = np.where(reference == 0, 0, beta.ppf(tail, reference, total - reference + 1)) - tolerance
    high = np.where(reference == total, 1, beta.isf(tail, reference + 1, total - reference)) + tolerance
    few = binom.cdf(sample, size, low.clip(0, 1))
    many = binom.sf(sample - 1, size, high.clip(0, 1))
    p_values = np.minimum(2 * np.minimum(few, many), 1)
    return detection.e_values_of(p_values), np.abs(sample / size - reference / total)
