"""Segmentation of a number into digits: more pieces than digits, and all runs of pieces that may be one digit.

The model reads the candidates, and its probabilities decide between them (Casey and Lecolinet, A survey of methods and
strategies in character segmentation, 1996).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from serving.errors import InvalidRequestError
from serving.images import text_lines
from serving.images.components import Box, Integers, Mask, extent
from serving.images.digit import grown, stroke_width
from serving.images.ink import Grey
from serving.images.mnist_form import to_mnist_form
from serving.images.numbers import seams
from serving.images.preprocessing import Handwriting

MOST_DIGITS = 32
# Limits of the work for one image.
MOST_PIECES = 3 * MOST_DIGITS
MOST_PIECES_OF_A_DIGIT = 8
# Digits are higher than this multiple of the width of their strokes. What is lower, such as a dash, is not cut.
LEAST_HEIGHT = 2
# Of a digit of several pieces: its width at most, and the gap between them, as shares of the height of its line.
WIDEST = 1.5
WIDEST_GAP = 0.2


@dataclass(frozen=True)
class Candidate:
    """A run of pieces that may be a digit.

    Attributes:
        first, last: of its pieces; the last one is exclusive.
        box: in the whole image.
        aspect: width as a share of the height of the line.
        height: as a share of that of the line.
        gap: the widest gap inside, without ink from top to bottom, as a share of the height of the line.
        input: of the model, uint8 [28, 28].
    """

    first: int
    last: int
    box: Box
    aspect: float
    height: float
    gap: float
    input: Grey


class Cut(NamedTuple):
    """A cut between two pieces.

    Attributes:
        strokes: how many strokes it crosses.
        width: of the strokes without a gap that it divides, as a share of the height of the line; infinite in a gap.
    """

    strokes: float
    width: float


@dataclass(frozen=True)
class Line:
    """A line of handwriting.

    Attributes:
        cuts: between its pieces, from left to right.
        candidates: for its digits, by their first pieces.
    """

    cuts: tuple[Cut, ...]
    candidates: tuple[Candidate, ...]


def segment(found: Handwriting, across: float, down: float) -> list[Line]:
    """Return the lines of handwriting with the candidates for their digits, from top to bottom.

    Args:
        found: on an image.
        across: factor by which the width of the image was reduced before.
        down: the same of its height.

    Raises:
        InvalidRequestError: there are more strokes than `MOST_DIGITS` digits have.
    """
    lines = []
    left = MOST_PIECES
    for mask in text_lines.split(found.mask, MOST_DIGITS):
        pieces = _cut(found, mask, left)
        left -= pieces.count
        if left < 0:
            raise InvalidRequestError(f"too many strokes: an image may show at most {MOST_DIGITS} digits")
        lines.append(Line(tuple(pieces.cuts()), tuple(pieces.candidates(across, down))))
    return lines


def _cut(found: Handwriting, mask: Mask, most: int) -> _Pieces:
    """Cut the line with this mask at up to `most` seams."""
    rows, columns = extent(mask)
    own = mask[rows, columns]
    pixels = np.where(grown(mask, 2), found.pixels, 0)[rows, columns]
    ink = np.where(own, pixels, 0).astype(np.float32) / np.float32(255)
    width = stroke_width(own)
    between = seams.find(ink, width, most if len(own) > LEAST_HEIGHT * width else 0)
    return _Pieces(pixels, own, between.pieces(own.shape[1]), between.strokes.tolist(), rows.start, columns.start)


@dataclass(frozen=True)
class _Pieces:
    """The pieces of a line.

    Attributes:
        pixels, mask: ink of the line, cropped to it, `[height, width]`.
        numbers: the piece that each pixel belongs to, `[height, width]`.
        strokes: how many the seam after each piece but the last crosses.
        top, left: place of the line in the image.
    """

    pixels: Grey
    mask: Mask
    numbers: Integers
    strokes: Sequence[float]
    top: int
    left: int

    @property
    def count(self) -> int:
        return len(self.strokes) + 1

    @cached_property
    def boxes(self) -> Sequence[tuple[slice, slice]]:
        """Rows and columns of each piece."""
        return [extent(self.mask & (self.numbers == number)) for number in range(self.count)]

    @cached_property
    def ends(self) -> Sequence[int]:
        """The pieces after a gap, from the first piece to that after the last one."""
        gaps = [number + 1 for number, strokes in enumerate(self.strokes) if strokes <= seams.CLEAN]
        return [0, *gaps, self.count]

    def cuts(self) -> Iterator[Cut]:
        """Yield the cuts from left to right."""
        for first, last in pairwise(self.ends):
            columns = _union([box[1] for box in self.boxes[first:last]])
            width = (columns.stop - columns.start) / len(self.mask)
            yield from (Cut(strokes, width) for strokes in self.strokes[first : last - 1])
            if last < self.count:
                yield Cut(self.strokes[last - 1], math.inf)

    def _lasts(self, first: int) -> Iterator[int]:
        """Yield where runs from a piece may end: after few pieces, and after the strokes up to the next gap."""
        most = first + MOST_PIECES_OF_A_DIGIT
        yield from range(first + 1, min(self.count, most) + 1)
        if first in self.ends[:-1] and (end := self.ends[self.ends.index(first) + 1]) > most:
            yield end

    def candidates(self, across: float, down: float) -> Iterator[Candidate]:
        """Yield all runs that may be digits: each piece alone, and as many more as are near and not too wide."""
        for first in range(self.count):
            for last in self._lasts(first):
                rows, columns = (_union([box[axis] for box in self.boxes[first:last]]) for axis in (0, 1))
                inside = (self.numbers[rows, columns] >= first) & (self.numbers[rows, columns] < last)
                aspect = (columns.stop - columns.start) / len(self.mask)
                gap = _widest_gap(self.mask[rows, columns] & inside) / len(self.mask)
                if last > first + 1 and (aspect > WIDEST or gap > WIDEST_GAP):
                    break
                yield Candidate(
                    first,
                    last,
                    Box.scaled(_moved(rows, self.top), _moved(columns, self.left), across, down),
                    aspect,
                    (rows.stop - rows.start) / len(self.mask),
                    gap,
                    to_mnist_form(np.where(inside, self.pixels[rows, columns], 0)),
                )


def _union(slices: list[slice]) -> slice:
    return slice(min(each.start for each in slices), max(each.stop for each in slices))


def _moved(part: slice, by: int) -> slice:
    return slice(part.start + by, part.stop + by)


def _widest_gap(mask: Mask) -> int:
    """Return the most columns without ink between two with ink."""
    return int(np.diff(np.flatnonzero(mask.any(axis=0))).max(initial=1)) - 1
