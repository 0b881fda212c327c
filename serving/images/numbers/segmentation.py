"""Segmentation of a number into digits by over-segmentation: seams cut each line between its digits and inside them.

Seams and the spans between them that may be digits make up the segmentation graph. The scores of the shapes decide
which spans the model reads, and its probabilities which of those are the digits (Casey and Lecolinet, A survey of
methods and strategies in character segmentation, 1996).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from serving.errors import InvalidRequestError
from serving.images import text_lines
from serving.images.components import Box, Mask, bounding_slices
from serving.images.ink import Grey
from serving.images.mnist_form import to_mnist_form
from serving.images.morphology import dilated, stroke_width
from serving.images.numbers import scores, seams, sequence, spans
from serving.images.numbers.seams import Seams
from serving.images.numbers.sequence import Scores
from serving.images.numbers.spans import Span, Spans
from serving.images.preprocessing import Handwriting

MAX_DIGITS = 32
# Limits of the work for one image. Beyond this number of candidates, a line has only those of its best sequence.
MAX_SEAMS = 8 * MAX_DIGITS
MAX_CANDIDATES = 12 * MAX_DIGITS
# The model reads spans with at least this marginal probability by their shape.
MIN_PROBABILITY = 2e-3
# Digits are higher than this multiple of the width of their strokes. Lower ink, such as a dash, is not cut.
MIN_HEIGHT = 2


@dataclass(frozen=True)
class Candidate:
    """A candidate for a digit: the ink of a span.

    Attributes:
        first, last: numbers of the seams.
        score: of its shape, the log-potential of the span.
        box: in the whole image.
        input: of the model, uint8 [28, 28].
    """

    first: int
    last: int
    score: float
    box: Box
    input: Grey


@dataclass(frozen=True)
class LineImage:
    """The image of a line, cropped to its ink.

    Attributes:
        pixels: ink of the line, uint8 `[height, width]`.
        mask: of the ink, `[height, width]`.
        top, left: position of the line in the whole image.
        stroke_width: in pixels.
    """

    pixels: Grey
    mask: Mask
    top: int
    left: int
    stroke_width: float


Line = tuple[Candidate, ...]  # in the order of their first seams


def segment(found: Handwriting, x_scale: float, y_scale: float) -> list[Line]:
    """Return the candidates for the digits of each line of handwriting, from top to bottom.

    Args:
        found: on an image.
        x_scale: factor by which the width of the image was reduced before.
        y_scale: that of its height.

    Raises:
        InvalidRequestError: there are more strokes than `MAX_DIGITS` digits have.
    """
    lines: list[Line] = []
    remaining = MAX_SEAMS
    for mask in text_lines.split(found.mask, MAX_DIGITS):
        line = crop_line(found, mask)
        line_seams = find_seams(line, remaining)
        remaining -= len(line_seams) - 1
        if remaining < 0:
            raise InvalidRequestError(f"too many strokes: an image may show at most {MAX_DIGITS} digits")
        limit = max(0, MAX_CANDIDATES - sum(map(len, lines)))
        lines.append(tuple(_candidates(line, line_seams, limit, x_scale, y_scale)))
    return lines


def crop_line(found: Handwriting, mask: Mask) -> LineImage:
    """Return the image of the line of handwriting with this mask, `[height, width]` of the whole image."""
    rows, columns = bounding_slices(mask)
    own = mask[rows, columns]
    pixels = np.where(dilated(mask, 2), found.pixels, 0)[rows, columns]
    return LineImage(pixels, own, rows.start, columns.start, stroke_width(own))


def find_seams(line: LineImage, limit: int) -> Seams:
    """Return up to `limit` seams of a line, and its ends."""
    ink = np.where(line.mask, line.pixels, 0).astype(np.float32) / np.float32(255)
    is_flat = len(line.mask) <= MIN_HEIGHT * line.stroke_width
    return seams.find(ink, line.stroke_width, 0 if is_flat else limit)


def render(line: LineImage, line_seams: Seams, span: Span) -> Grey:
    """Return the input of the model, uint8 [28, 28], for the ink of a span."""
    rows, columns = span.rows, span.columns
    positions = np.arange(columns.start, columns.stop)
    starts, ends = (line_seams.columns[seam, rows, None] for seam in (span.first, span.last))
    return to_mnist_form(np.where((positions >= starts) & (positions < ends), line.pixels[rows, columns], 0))


def _candidates(line: LineImage, line_seams: Seams, limit: int, x_scale: float, y_scale: float) -> Iterator[Candidate]:
    possible = spans.find(line_seams, line.mask, line.stroke_width)
    shape_scores = scores.of_shapes(possible, line_seams, line.stroke_width)
    for number in np.flatnonzero(_is_probable(possible, shape_scores, limit)).tolist():
        span = possible[number]
        box = Box.scaled(_moved(span.rows, line.top), _moved(span.columns, line.left), x_scale, y_scale)
        yield Candidate(span.first, span.last, float(shape_scores[number]), box, render(line, line_seams, span))


def _is_probable(possible: Spans, shape_scores: Scores, limit: int) -> Mask:
    """Return which spans the model should read: up to `limit` probable ones, and those of the best sequence."""
    probabilities = sequence.marginals(possible.first, possible.last, shape_scores)
    likely = np.argsort(-probabilities, kind="stable")[:limit]
    chosen = np.zeros(len(possible), bool)
    chosen[likely[probabilities[likely] >= MIN_PROBABILITY]] = True
    chosen[sequence.best(possible.first, possible.last, shape_scores)] = True
    return chosen


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)
