"""Scores of spans: how likely the ink between two seams is a digit, by its shape and by the confidence of the model.

A score is the log-potential of a span in the conditional random field of `sequence`: a sum of piecewise linear
functions of one feature each, as in a generalized additive model. Their values are fitted by maximum likelihood to
numbers whose digits are known (`benchmarks/serving/fit_numbers.py`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.images.components import Floats
from serving.images.numbers.seams import Seams
from serving.images.numbers.sequence import Scores
from serving.images.numbers.spans import Spans

Feature = npt.NDArray[np.floating]  # of each span


@dataclass(frozen=True)
class Curve:
    """A function of a feature that is linear between its knots, and constant beyond them."""

    knots: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, feature: Feature) -> Scores:
        scores: Scores = np.interp(feature, self.knots, self.values)
        return scores


# Of the bounding box and the widest gap inside, as shares of the height of the line, and of the ink, in upright strokes
# of that height.
WIDTH = Curve((0.1, 0.3, 0.6, 0.9, 1.25), (-0.59, -0.06, 0.1, -0.76, -0.77))
HEIGHT = Curve((0.4, 0.6, 0.75, 0.9, 1), (-5.48, -0.22, 0.27, 1.93, 1.42))
GAP = Curve((0, 0.05, 0.2), (1.5, -0.26, -3.33))
INK = Curve((0.3, 0.8, 1.8, 3), (-3.73, 0.05, 1.03, 0.56))
# Of each of the two seams: the strokes that it crosses, and the distance between the gaps on both sides of it, as a
# share of the height of the line.
STROKES = Curve((0, 0.15, 0.4, 1.1, 2.25), (0.25, -0.08, 1.38, -1.62, -4.1))
GAP_DISTANCE = Curve((0.6, 1.2, 1.8), (-2.65, -1.03, -0.5))
# Of the decimal logarithm of the uncertainty of the model: 1 less the probability of the most probable class.
MIN_UNCERTAINTY = 1e-4
UNCERTAINTY = Curve((-4, -3, -2, -1, 0), (2.72, 0.22, -1.82, -3.05, -5.2))


def shape_features(spans: Spans, seams: Seams, stroke_width: float) -> list[tuple[Curve, Feature]]:
    """Return the curves of shapes, each with the feature of each span, `[spans]`; twice those of seams.

    Args:
        spans: of a line.
        seams: of the line.
        stroke_width: in pixels.
    """
    height = seams.height
    gap_distance = _gap_distances(seams) / height
    return [
        (WIDTH, (spans.right - spans.left) / height),
        (HEIGHT, (spans.bottom - spans.top) / height),
        (GAP, spans.gap / height),
        (INK, spans.ink / (stroke_width * height)),
        *((STROKES, seams.strokes[ends]) for ends in (spans.first, spans.last)),
        *((GAP_DISTANCE, gap_distance[ends]) for ends in (spans.first, spans.last)),
    ]


def of_shapes(spans: Spans, seams: Seams, stroke_width: float) -> Scores:
    """Return the scores of the shapes of spans, `[spans]`; the arguments are those of `shape_features`."""
    curves = shape_features(spans, seams, stroke_width)
    total: Scores = np.sum([curve(feature) for curve, feature in curves], axis=0)
    return total


def of_probabilities(probabilities: Floats) -> Scores:
    """Return the scores of the probabilities of the model, `[spans, classes]`, as `[spans]`."""
    return UNCERTAINTY(log_uncertainty(probabilities))


def log_uncertainty(probabilities: Floats) -> Scores:
    """Return the decimal logarithm of the uncertainty, for probabilities `[spans, classes]`, as `[spans]`."""
    best = np.nan_to_num(probabilities).max(axis=1)  # also of a model that returns NaN
    logarithms: Scores = np.log10(np.clip(1 - best, MIN_UNCERTAINTY, 1))
    return logarithms


def _gap_distances(seams: Seams) -> Scores:
    """Return the distance between the gaps on both sides of each seam, in pixels, `[seams]`; infinite in a gap."""
    columns = seams.columns.mean(axis=1)
    gaps = np.flatnonzero(seams.is_in_gap)
    following = np.searchsorted(gaps, np.arange(len(seams)))
    distances: Scores = columns[gaps[following]] - columns[gaps[np.maximum(following - 1, 0)]]
    return np.where(seams.is_in_gap, np.inf, distances)
