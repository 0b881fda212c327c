"""Sequences of digits: paths through the segmentation graph of a line, whose nodes are seams and whose edges are spans.

Each span has a score, its log-potential. The score of a sequence is the sum of those of its spans, and its probability
is proportional to the exponential of that (Sarawagi and Cohen, Semi-Markov conditional random fields, 2004). The
Viterbi algorithm finds the best sequence, and the forward-backward algorithm the probability of each span.

Spans are arrays `[spans]`: `first` and `last` are the seams of each, in the order of the first ones, which begin with
0, the left end of the line.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serving.images.components import Integers

Scores = npt.NDArray[np.float64]


def best(first: Integers, last: Integers, scores: Scores) -> list[int]:
    """Return the numbers of the spans of the sequence with the highest score, from left to right (Viterbi)."""
    total = np.full(int(last.max()) + 1, -np.inf)  # of the best sequence to each seam
    chosen = np.full(len(total), -1)  # the span of that sequence that ends at the seam
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


def marginals(first: Integers, last: Integers, scores: Scores) -> Scores:
    """Return the marginal probability of each span, `[spans]`: that of all sequences with it."""
    return log_partition(first, last, scores)[1]


def log_partition(first: Integers, last: Integers, scores: Scores) -> tuple[float, Scores]:
    """Return the logarithm of the partition function, and the marginal probability of each span (forward-backward).

    A score may be -inf, for a span that no sequence has.
    """
    end = int(last.max())
    forward = _forward(first, last, scores, end)
    backward = _forward(end - last, end - first, scores, end)[::-1]
    return float(forward[end]), np.exp(forward[first] + scores + backward[last] - forward[end])


def _forward(first: Integers, last: Integers, scores: Scores, end: int) -> Scores:
    """Return the logarithm of the summed exponentials of all sequences from seam 0 to each one, `[end + 1]`."""
    by_last = np.argsort(last, kind="stable")
    bounds = np.searchsorted(last[by_last], np.arange(end + 2))
    totals = np.full(end + 1, -np.inf)
    totals[0] = 0
    for seam in range(1, end + 1):
        spans = by_last[bounds[seam] : bounds[seam + 1]]
        if len(spans):
            totals[seam] = np.logaddexp.reduce(totals[first[spans]] + scores[spans])
    return totals
