"""Segmentation of a number into digits: seams at and between its digits, and all spans between seams that may be one.

The shapes of the spans decide which of them the model reads, and its probabilities which of those are the digits (Casey
and Lecolinet, A survey of methods and strategies in character segmentation, 1996).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from serving.errors import InvalidRequestError
from serving.images import text_lines
from serving.images.components import Box, Mask, bounding_slices
from serving.images.digit import dilated, stroke_width
from serving.images.ink import Grey
from serving.images.mnist_form import to_mnist_form
from serving.images.numbers import scores, seams, sequence, spans
from serving.images.numbers.seams import Seams
from serving.images.numbers.sequence import Scores
from serving.images.numbers.spans import Span, Spans
from serving.images.preprocessing import Handwriting

MOST_DIGITS = 32
# Limits of the work for one image. Beyond this number of candidates, each line has one sequence of digits only.
MOST_SEAMS = 8 * MOST_DIGITS
MOST_CANDIDATES = 12 * MOST_DIGITS
# The model reads spans that are at least as probable as this by their shape.
PROBABLE = 2e-3
# Digits are higher than this multiple of the width of their strokes. What is lower, such as a dash, is not cut.
LEAST_HEIGHT = 2


@dataclass(frozen=True)
class Candidate:
    """What may be a digit: the ink between two seams.

    Attributes:
        first, last: numbers of the seams.
        score: of its shape, in nats.
        box: in the whole image.
        input: of the model, uint8 [28, 28].
    """

    first: int
    last: int
    score: float
    box: Box
    input: Grey


@dataclass(frozen=True)
class Writing:
    """The ink of a line, cropped to it.

    Attributes:
        pixels, mask: `[height, width]`.
        top, left: place of the line in the image.
        stroke_width: in pixels.
    """

    pixels: Grey
    mask: Mask
    top: int
    left: int
    stroke_width: float


Line = tuple[Candidate, ...]  # in the order of their first seams


def segment(found: Handwriting, across: float, down: float) -> list[Line]:
    """Return the candidates for the digits of each line of handwriting, from top to bottom.

    Args:
        found: on an image.
        across: factor by which the width of the image was reduced before.
        down: the same of its height.

    Raises:
        InvalidRequestError: there are more strokes than `MOST_DIGITS` digits have.
    """
    lines: list[Line] = []
    left = MOST_SEAMS
    for mask in text_lines.split(found.mask, MOST_DIGITS):
        line = writing(found, mask)
        between = find_seams(line, left)
        left -= len(between) - 1
        if left < 0:
            raise InvalidRequestError(f"too many strokes: an image may show at most {MOST_DIGITS} digits")
        most = max(0, MOST_CANDIDATES - sum(map(len, lines)))
        lines.append(tuple(_candidates(line, between, most, across, down)))
    return lines


def writing(found: Handwriting, mask: Mask) -> Writing:
    """Return the line of handwriting with this mask, `[height, width]` of the image."""
    rows, columns = bounding_slices(mask)
    own = mask[rows, columns]
    pixels = np.where(dilated(mask, 2), found.pixels, 0)[rows, columns]
    return Writing(pixels, own, rows.start, columns.start, stroke_width(own))


def find_seams(line: Writing, most: int) -> Seams:
    """Return up to `most` seams of a line, and its ends."""
    ink = np.where(line.mask, line.pixels, 0).astype(np.float32) / np.float32(255)
    is_flat = len(line.mask) <= LEAST_HEIGHT * line.stroke_width
    return seams.find(ink, line.stroke_width, 0 if is_flat else most)


def rendered(line: Writing, between: Seams, span: Span) -> Grey:
    """Return the input of the model, uint8 [28, 28], for what lies between two seams."""
    rows, columns = span.rows, span.columns
    places = np.arange(columns.start, columns.stop)
    starts, ends = (between.columns[seam, rows, None] for seam in (span.first, span.last))
    return to_mnist_form(np.where((places >= starts) & (places < ends), line.pixels[rows, columns], 0))


def _candidates(line: Writing, between: Seams, most: int, across: float, down: float) -> Iterator[Candidate]:
    possible = spans.between(between, line.mask, line.stroke_width)
    shapes = scores.of_shapes(possible, between, line.stroke_width)
    for number in np.flatnonzero(_probable(possible, shapes, most)).tolist():
        span = possible[number]
        box = Box.scaled(_moved(span.rows, line.top), _moved(span.columns, line.left), across, down)
        yield Candidate(span.first, span.last, float(shapes[number]), box, rendered(line, between, span))


def _probable(possible: Spans, shapes: Scores, most: int) -> Mask:
    """Return which spans the model should read: up to `most` probable ones, and those of the best sequence."""
    probabilities = sequence.probabilities(possible.first, possible.last, shapes)
    likely = np.argsort(-probabilities, kind="stable")[:most]
    chosen = np.zeros(len(possible), bool)
    chosen[likely[probabilities[likely] >= PROBABLE]] = True
    chosen[sequence.best(possible.first, possible.last, shapes)] = True
    return chosen


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)
