"""Sequence of the digits of a line: the candidates that cover all pieces once at the least cost.

The cost of a candidate is the doubt of the model, and what is unusual about its shape and about the cuts beside it.
Dynamic programming finds the cheapest sequence.
"""

from __future__ import annotations

import math

from serving.images.components import Floats
from serving.images.numbers.segmentation import Candidate, Cut, Line

# Costs, in nats, chosen by random search on numbers written from MNIST's training images. The model is sure of many
# strokes that are no digits, so that any doubt of it counts, but only so much.
DOUBT, MOST_DOUBT = 280.0, 2.8
LEAST_PROBABILITY = 1e-6
ANY_DIGIT = 0.1
# Costs of the shape of a digit: of a width above the usual one, a height below it, and a gap inside, each as a share
# of the height of the line.
WIDE, USUAL_WIDTH = 7.3, 0.54
LOW, USUAL_HEIGHT = 12.6, 0.58
GAP, USUAL_GAP = 12.0, 0.055
# Costs of a cut: of each stroke that it crosses, again of those beyond the usual ones, and of dividing strokes that are
# no wider than two digits.
STROKE = 0.8
HARD, USUAL_STROKES = 1.3, 1.1
NARROW, TWO_DIGITS = 3.1, 1.77


def best_sequence(line: Line, probabilities: Floats) -> list[int]:
    """Return the numbers of the candidates that are the digits of a line, from left to right.

    Args:
        line: of handwriting.
        probabilities: of the model for each candidate, `[n, classes]`.
    """
    cut_costs = [0.0, *map(_cut_cost, line.cuts), 0.0]
    costs = [0.0, *(math.inf for _ in cut_costs[1:])]
    chosen = [-1] * len(costs)  # the candidate that ends at each cut
    for number, (candidate, best) in enumerate(zip(line.candidates, probabilities.max(axis=1), strict=True)):
        cost = costs[candidate.first] + _digit_cost(candidate, float(best)) + cut_costs[candidate.last]
        if cost < costs[candidate.last]:
            costs[candidate.last], chosen[candidate.last] = cost, number
    sequence = []
    cut = len(costs) - 1
    while cut > 0:
        sequence.append(chosen[cut])
        cut = line.candidates[chosen[cut]].first
    return sequence[::-1]


def _digit_cost(candidate: Candidate, probability: float) -> float:
    # Also for a model that returns NaN.
    doubt = min(-DOUBT * math.log(probability), MOST_DOUBT) if probability > LEAST_PROBABILITY else MOST_DOUBT
    wide = WIDE * max(0, candidate.aspect - USUAL_WIDTH)
    low = LOW * max(0, USUAL_HEIGHT - candidate.height)
    return ANY_DIGIT + doubt + wide + low + GAP * max(0, candidate.gap - USUAL_GAP)


def _cut_cost(cut: Cut) -> float:
    return STROKE * cut.strokes + HARD * max(0, cut.strokes - USUAL_STROKES) + NARROW * max(0, TWO_DIGITS - cut.width)
