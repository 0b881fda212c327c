"""Accuracy of served predictions: an estimate without labels, and a confidence sequence where there are labels."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mnistflow.arrays import Array

FACTORS = (1.5, 2.0, 4.0, 8.0, 16.0)  # of the error rate, that are bet on
LEVEL = 0.05
NORMAL = 1.96  # quantile of the normal distribution at 97.5 %
GRID = 2000  # means that are tried
TOLERANCE = 1e-9  # of a bound that is searched for


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    estimate: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.estimate:.1%} ({self.low * 100:.1f}–{self.high:.1%})"


def estimate_accuracy(confidence: Array, reference_confidence: Array, reference_right: Array) -> Interval:
    """Return the accuracy expected from the confidence of unlabelled predictions.

    The mean confidence equals the accuracy if probabilities are calibrated. The gap between confidence and accuracy on
    the reference is subtracted; its standard error is part of the interval. The estimate is too high if the model is
    overconfident on new kinds of images, so it shows that accuracy falls rather than by how much.

    Args:
        confidence: largest probability of each prediction, `[n]`.
        reference_confidence: the same of the reference, `[m]`.
        reference_right: whether each prediction of the reference was right, `[m]`.
    """
    gap = reference_confidence - reference_right
    estimate = float(confidence.mean() - gap.mean())
    variance = (confidence.var() + (confidence * (1 - confidence)).mean()) / len(confidence) + gap.var() / len(gap)
    margin = NORMAL * math.sqrt(float(variance))
    return Interval(*(min(max(value, 0.0), 1.0) for value in (estimate, estimate - margin, estimate + margin)))


def confidence_sequence(successes: int, trials: int) -> Interval:
    """Return a success rate with an interval that holds for all numbers of trials together: a confidence sequence.

    It is the beta-binomial mixture (Robbins 1970; Howard, Ramdas, McAuliffe and Sekhon, Annals of Statistics 2021): a
    rate is left out once a mixture of all bets against it has multiplied its stake by 20.
    """
    from scipy.special import betaln, xlog1py, xlogy

    failures = trials - successes
    mixture = betaln(1 + successes, 1 + failures)

    def capital(rate: float) -> float:
        return float(mixture - xlogy(successes, rate) - xlog1py(failures, -rate))

    estimate = successes / trials if trials else 0.5
    low = _bound(capital, 0.0, estimate) if successes else 0.0
    high = _bound(capital, 1.0, estimate) if failures else 1.0
    return Interval(estimate, low, high)


def share_lower_bound(successes: int, trials: int) -> float:
    """Return a lower bound of a share that holds for all numbers of trials together: a one-sided confidence sequence.

    A share is left out once a mixture of all bets on larger ones has multiplied its stake by 20. A bet on a larger
    share gains nothing on average while each trial succeeds with at most that chance: chances may differ and change.

    Args:
        successes: number of successes.
        trials: number of trials.
    """
    from scipy.special import betaln, xlog1py, xlogy
    from scipy.stats import beta

    failures = trials - successes
    mixture = betaln(1 + successes, 1 + failures)

    def capital(share: float) -> float:
        larger = mixture + beta.logsf(share, 1 + successes, 1 + failures)
        # The mixture is uniform over larger shares up to 1, so its density is 1 / (1 - share): hence + 1.
        return float(larger - xlogy(successes, share) - xlog1py(failures + 1, -share))

    # At 1 itself, both terms are infinite.
    return _bound(capital, 0.0, min(successes / trials, 1 - TOLERANCE)) if successes else 0.0


def _bound(capital: Callable[[float], float], outer: float, inner: float) -> float:
    """Return where the logarithm of a capital falls to that of 20 on the way from `outer`, where it is infinite."""
    from scipy.optimize import bisect

    return float(bisect(lambda rate: capital(rate) + math.log(LEVEL), outer, inner, xtol=TOLERANCE))


def mean_lower_bound(values: Array, failure_probability: float) -> float:
    """Return a lower bound of the mean that values were drawn from.

    It is the better one of two, each with half of the chance: empirical Bernstein (Maurer and Pontil 2009), for many
    values of a small variance, and Hoeffding's by relative entropy (1963, theorem 1), for few values.

    Args:
        values: `[m]`, 0 to 1.
        failure_probability: probability that the bound does not hold.
    """
    size = len(values)
    if size < 2:
        return 0.0
    mean, half = float(values.mean()), failure_probability / 2
    logarithm = math.log(2 / half)
    error = math.sqrt(2 * float(values.var(ddof=1)) * logarithm / size) + 7 * logarithm / (3 * (size - 1))
    return max(0.0, mean - error, _entropy_lower_bound(mean, size, half))


def _entropy_lower_bound(mean: float, size: int, failure_probability: float) -> float:
    """Return the smallest mean from which `size` values have a mean as large as this with this probability."""
    from scipy.special import rel_entr

    means = np.arange(1, GRID) / GRID
    entropies = rel_entr(mean, means) + rel_entr(1 - mean, 1 - means)
    likely = means[(means <= mean) & (size * entropies <= -math.log(failure_probability))]
    return float(likely.min()) - 1 / GRID if len(likely) else 0.0


def alternative_means(mean: float) -> tuple[float, ...]:
    """Return the means below one that bets are placed on: error rates that are a multiple of its own."""
    return tuple(max(1 - factor * (1 - mean), mean / 100) for factor in FACTORS)
