"""Scores of spans, in nats: how likely a digit has such a shape between such seams, and such doubt of the model.

Every score is a sum of curves, linear between its points. Their values are fitted: they make the true sequences of
numbers as probable as possible (`benchmarks/serving/fit_numbers.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.images.components import Floats
from serving.images.numbers.seams import Seams
from serving.images.numbers.sequence import Scores
from serving.images.numbers.spans import Spans


@dataclass(frozen=True)
class Curve:
    """A curve that is linear between its points, and constant beyond them."""

    points: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, measure: npt.NDArray[np.floating]) -> Scores:
        scores: Scores = np.interp(measure, self.points, self.values)
        return scores


# Of the shape of a digit, as shares of the height of the line, and its ink, in upright strokes of that height.
WIDTH = Curve((0.1, 0.3, 0.6, 0.9, 1.25), (-0.59, -0.06, 0.1, -0.76, -0.77))
HEIGHT = Curve((0.4, 0.6, 0.75, 0.9, 1), (-5.48, -0.22, 0.27, 1.93, 1.42))
GAP = Curve((0, 0.05, 0.2), (1.5, -0.26, -3.33))
INK = Curve((0.3, 0.8, 1.8, 3), (-3.73, 0.05, 1.03, 0.56))
# Of the seams on both sides: the strokes that each crosses, and how wide what it divides is, as a share of the height.
STROKES = Curve((0, 0.15, 0.4, 1.1, 2.25), (0.25, -0.08, 1.38, -1.62, -4.1))
DIVIDED = Curve((0.6, 1.2, 1.8), (-2.65, -1.03, -0.5))
# Of the decimal logarithm of the doubt of the model: 1 less the probability of the most probable class.
SMALLEST_DOUBT = 1e-4
DOUBT = Curve((-4, -3, -2, -1, 0), (2.72, 0.22, -1.82, -3.05, -5.2))


def measures(spans: Spans, seams: Seams, stroke_width: float) -> list[tuple[Curve, Scores]]:
    """Return the curves for shapes with what they apply to, for each span; two for both seams of a span.

    Args:
        spans: of a line.
        seams: of the line.
        stroke_width: in pixels.
    """
    height = seams.columns.shape[1]
    divided = _divided(seams) / height
    return [
        (WIDTH, (spans.right - spans.left) / height),
        (HEIGHT, (spans.bottom - spans.top) / height),
        (GAP, spans.gap / height),
        (INK, spans.ink / (stroke_width * height)),
        *((STROKES, seams.strokes[ends]) for ends in (spans.first, spans.last)),
        *((DIVIDED, divided[ends]) for ends in (spans.first, spans.last)),
    ]


def of_shapes(spans: Spans, seams: Seams, stroke_width: float) -> Scores:
    """Return the scores of the shapes of spans; the arguments are those of `measures`."""
    total: Scores = np.sum([curve(measure) for curve, measure in measures(spans, seams, stroke_width)], axis=0)
    return total


def of_probabilities(probabilities: Floats) -> Scores:
    """Return the scores of what the model says, for its probabilities `[n, classes]`."""
    return DOUBT(doubts(probabilities))


def doubts(probabilities: Floats) -> Scores:
    """Return the decimal logarithms of the doubt, for probabilities `[n, classes]`."""
    best = np.nan_to_num(probabilities).max(axis=1)  # also of a model that returns NaN
    logarithms: Scores = np.log10(np.clip(1 - best, SMALLEST_DOUBT, 1))
    return logarithms


def _divided(seams: Seams) -> Scores:
    """Return how wide the ink without a gap is that each seam divides, in pixels; infinite in a gap."""
    columns = seams.columns.mean(axis=1)
    clean = np.flatnonzero(seams.is_clean)
    numbers = np.arange(len(seams))
    after = np.searchsorted(clean, numbers)
    widths: Scores = columns[clean[after]] - columns[clean[np.maximum(after - 1, 0)]]
    return np.where(seams.is_clean, np.inf, widths)
