"""Sequences: ways along a line from its left to its right end, span by span, each span a digit.

Each span has a score in nats. The score of a sequence is their sum, and its probability is proportional to the
exponential of that (a conditional random field, Lafferty, McCallum and Pereira, 2001).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serving.images.components import Integers

Scores = npt.NDArray[np.float64]


def best(first: Integers, last: Integers, scores: Scores) -> list[int]:
    """Return the numbers of the spans of the sequence with the highest score, from left to right.

    Args:
        first, last: seams of each span, in the order of the first ones; they begin with 0.
        scores: of each span.
    """
    total = np.full(int(last.max()) + 1, -np.inf)
    chosen = np.full(len(total), -1)  # the span that ends at each seam
    total[0] = 0
    for number, (start, end, score) in enumerate(zip(first.tolist(), last.tolist(), scores.tolist(), strict=True)):
        if total[start] + score > total[end]:
            total[end], chosen[end] = total[start] + score, number
    sequence = []
    seam = len(total) - 1
    while seam > 0:
        sequence.append(int(chosen[seam]))
        seam = int(first[sequence[-1]])
    return sequence[::-1]


def probabilities(first: Integers, last: Integers, scores: Scores) -> Scores:
    """Return the probability of each span: that of all sequences with it."""
    return log_total(first, last, scores)[1]


def log_total(first: Integers, last: Integers, scores: Scores) -> tuple[float, Scores]:
    """Return the logarithm of the total weight of all sequences, and the probability of each span.

    Args:
        first, last, scores: as for `best`. A score may be -inf.
    """
    end = int(last.max())
    before = _totals(first, last, scores, end)
    after = _totals(end - last, end - first, scores, end)[::-1]
    return float(before[end]), np.exp(before[first] + scores + after[last] - before[end])


def _totals(first: Integers, last: Integers, scores: Scores, end: int) -> Scores:
    """Return the logarithm of the total weight of all sequences from seam 0 to each one."""
    by_last = np.argsort(last, kind="stable")
    bounds = np.searchsorted(last[by_last], np.arange(end + 2))
    totals = np.full(end + 1, -np.inf)
    totals[0] = 0
    for seam in range(1, end + 1):
        spans = by_last[bounds[seam] : bounds[seam + 1]]
        if len(spans):
            totals[seam] = np.logaddexp.reduce(totals[first[spans]] + scores[spans])
    return totals
