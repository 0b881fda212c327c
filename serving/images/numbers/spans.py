"""Spans: pairs of seams of a line that a digit may lie between, with the measures of the ink between them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple, Self

import numpy as np

from serving.images.components import Floats, Integers, Mask
from serving.images.numbers.seams import Seams

# Of a digit: its width at most, as a multiple of the height of the line, its height at least, and the gap inside at
# most. What lies between neighbouring gaps may have any shape.
WIDEST = 1.25
LOWEST = 0.4
WIDEST_GAP = 0.2
# Its ink at least, and how much of it the seams may leave out where they cross, as shares of that of an upright stroke
# as high as the line.
LEAST_INK = 0.3
MOST_LOST = 0.05
# Seams after the first one of a span among which its last one is.
MOST_LASTS = 40


class Span(NamedTuple):
    """A span of a line: its seams, and the bounding box of its ink in the line."""

    first: int
    last: int
    rows: slice
    columns: slice


@dataclass(frozen=True)
class Spans:
    """Spans of a line, in the order of their first seams. Every array has an entry for each.

    Attributes:
        first, last: numbers of the seams.
        top, bottom, left, right: bounding box of the ink in the line; bottom and right are exclusive.
        gap: the widest gap inside, without ink from top to bottom, in pixels.
        ink: in pixels.
    """

    first: Integers
    last: Integers
    top: Integers
    bottom: Integers
    left: Integers
    right: Integers
    gap: Integers
    ink: Floats

    def __len__(self) -> int:
        return len(self.first)

    def __iter__(self) -> Iterator[Span]:
        return (self[number] for number in range(len(self)))

    def __getitem__(self, number: int) -> Span:
        top, bottom, left, right = (int(side[number]) for side in (self.top, self.bottom, self.left, self.right))
        return Span(int(self.first[number]), int(self.last[number]), slice(top, bottom), slice(left, right))

    def select(self, chosen: Mask) -> Self:
        """Return the chosen spans; `chosen` has one entry for each span."""
        return type(self)(*(getattr(self, field.name)[chosen] for field in fields(self)))


def between(seams: Seams, mask: Mask, stroke_width: float) -> Spans:
    """Return the spans that may be digits, and all between neighbouring gaps.

    Args:
        seams: of a line.
        mask: of its ink, `[height, width]`.
        stroke_width: in pixels.
    """
    ink_to_the_right, ink_to_the_left = _nearest_ink(seams, mask)
    gaps = _gaps(ink_to_the_right, ink_to_the_left)
    found = [
        _from_seam(first, seams, ink_to_the_right, ink_to_the_left, gaps, stroke_width)
        for first in range(len(seams) - 1)
    ]
    return Spans(*(np.concatenate([getattr(each, field.name) for each in found]) for field in fields(Spans)))


def _from_seam(
    first: int, seams: Seams, ink_to_the_right: Integers, ink_to_the_left: Integers, gaps: Integers, stroke_width: float
) -> Spans:
    """Return the spans that begin at a seam."""
    height = seams.ink.shape[1]
    lasts = np.arange(first + 1, min(len(seams), first + 1 + MOST_LASTS))
    clean = np.flatnonzero(seams.is_clean)
    next_gap = int(clean[np.searchsorted(clean, first + 1)])
    if next_gap > lasts[-1]:
        lasts = np.append(lasts, next_gap)
    has_ink = ink_to_the_right[first] < seams.columns[lasts]  # in each row
    left = np.where(has_ink, ink_to_the_right[first], np.iinfo(np.intp).max).min(axis=1)
    right = np.where(has_ink, ink_to_the_left[lasts] + 1, 0).max(axis=1)
    top, bottom = has_ink.argmax(axis=1), height - has_ink[:, ::-1].argmax(axis=1)
    more = seams.ink[lasts] - seams.ink[first]
    ink, lost = np.maximum(more, 0).sum(axis=1), np.maximum(-more, 0).sum(axis=1)
    gap = np.maximum.accumulate(np.concatenate(([0], gaps[lasts[:-1]])))
    stroke = stroke_width * height
    may_be_digit = (
        (right - left <= WIDEST * height)
        & (bottom - top >= LOWEST * height)
        & (gap <= WIDEST_GAP * height)
        & (ink >= LEAST_INK * stroke)
        & (lost <= MOST_LOST * stroke)
    )
    if seams.is_clean[first]:
        may_be_digit |= lasts == next_gap
    found = Spans(np.full(len(lasts), first), lasts, top, bottom, left, right, gap, ink)
    return found.select(may_be_digit & has_ink.any(axis=1))


def _nearest_ink(seams: Seams, mask: Mask) -> tuple[Integers, Integers]:
    """Return the columns of the nearest ink to the right and to the left of each seam in each row, `[n, height]`.

    Where there is none, they are the width of the line and -1.
    """
    height, width = mask.shape
    rows, places = np.arange(height), np.arange(width)
    following = np.full((height, width + 1), width)
    following[:, :-1] = np.minimum.accumulate(np.where(mask, places, width)[:, ::-1], axis=1)[:, ::-1]
    preceding = np.full((height, width + 1), -1)
    preceding[:, 1:] = np.maximum.accumulate(np.where(mask, places, -1), axis=1)
    return following[rows, seams.columns], preceding[rows, seams.columns]


def _gaps(ink_to_the_right: Integers, ink_to_the_left: Integers) -> Integers:
    """Return how many columns without ink are at each seam; 0 if the ink of both sides shares columns."""
    gaps: Integers = np.maximum(ink_to_the_right.min(axis=1) - ink_to_the_left.max(axis=1) - 1, 0)
    return gaps
