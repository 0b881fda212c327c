"""Spans: pairs of seams that may have a digit between them (edges of the segmentation graph), with their features."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import NamedTuple, Self

import numpy as np

from serving.images.components import Floats, Integers, Mask
from serving.images.numbers.seams import Seams

# Limits of a digit: its width and height and the widest gap inside, as shares of the height of the line. Whatever lies
# between neighbouring gaps is a span too.
MAX_WIDTH = 1.25
MIN_HEIGHT = 0.4
MAX_GAP = 0.2
# Its ink, and the ink that it loses where its seams cross, as shares of that of an upright stroke as high as the line.
MIN_INK = 0.3
MAX_LOST_INK = 0.05
# A span ends at one of this many seams after its first one, or at the next gap.
MAX_SEAMS_AHEAD = 40


class Span(NamedTuple):
    """A span of a line: the numbers of its seams, and the bounding box of its ink in the line."""

    first: int
    last: int
    rows: slice
    columns: slice


@dataclass(frozen=True)
class Spans:
    """Spans of a line, in the order of their first seams. Every array is `[spans]`.

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


def find(seams: Seams, mask: Mask, stroke_width: float) -> Spans:
    """Return the spans that may be digits, and all between neighbouring gaps.

    Args:
        seams: of a line.
        mask: of its ink, `[height, width]`.
        stroke_width: in pixels.
    """
    nearest = _nearest_ink(seams, mask)
    found = [_find_from(first, seams, nearest, stroke_width) for first in range(len(seams) - 1)]
    return Spans(*(np.concatenate([getattr(each, field.name) for each in found]) for field in fields(Spans)))


class _NearestInk(NamedTuple):
    """The ink beside each seam.

    Attributes:
        right: column of the nearest ink to the right in each row, `[seams, height]`; the line's width without ink.
        left: column of the nearest ink to the left in each row, `[seams, height]`; -1 without ink.
        gap: columns without ink at each seam, `[seams]`; 0 if the ink of both sides shares columns.
    """

    right: Integers
    left: Integers
    gap: Integers


def _nearest_ink(seams: Seams, mask: Mask) -> _NearestInk:
    height, width = mask.shape
    rows, columns = np.arange(height), np.arange(width)
    following = np.full((height, width + 1), width)
    following[:, :-1] = np.minimum.accumulate(np.where(mask, columns, width)[:, ::-1], axis=1)[:, ::-1]
    preceding = np.full((height, width + 1), -1)
    preceding[:, 1:] = np.maximum.accumulate(np.where(mask, columns, -1), axis=1)
    right, left = following[rows, seams.columns], preceding[rows, seams.columns]
    return _NearestInk(right, left, np.maximum(right.min(axis=1) - left.max(axis=1) - 1, 0))


def _find_from(first: int, seams: Seams, nearest: _NearestInk, stroke_width: float) -> Spans:
    """Return the spans that begin at a seam."""
    lasts = np.arange(first + 1, min(len(seams), first + 1 + MAX_SEAMS_AHEAD))
    gaps = np.flatnonzero(seams.is_in_gap)
    next_gap = int(gaps[np.searchsorted(gaps, first + 1)])
    if next_gap > lasts[-1]:
        lasts = np.append(lasts, next_gap)
    spans, lost_ink = _measure(first, lasts, seams, nearest)
    stroke_ink = stroke_width * seams.height
    may_be_digit = (
        (spans.right - spans.left <= MAX_WIDTH * seams.height)
        & (spans.bottom - spans.top >= MIN_HEIGHT * seams.height)
        & (spans.gap <= MAX_GAP * seams.height)
        & (spans.ink >= MIN_INK * stroke_ink)
        & (lost_ink <= MAX_LOST_INK * stroke_ink)
    )
    if seams.is_in_gap[first]:
        may_be_digit |= lasts == next_gap
    return spans.select(may_be_digit & (spans.right > 0))


def _measure(first: int, lasts: Integers, seams: Seams, nearest: _NearestInk) -> tuple[Spans, Floats]:
    """Return spans, and the ink that each loses where its seams cross, in pixels, `[spans]`.

    Args:
        first: the first seam of all spans.
        lasts: the last seam of each, `[spans]`.
        seams: of the line.
        nearest: ink beside the seams.

    Returns:
        The spans; `right` of one without ink is 0. And the lost ink.
    """
    has_ink = nearest.right[first] < seams.columns[lasts]  # [spans, height]
    left = np.where(has_ink, nearest.right[first], np.iinfo(np.intp).max).min(axis=1)
    right = np.where(has_ink, nearest.left[lasts] + 1, 0).max(axis=1)
    top, bottom = has_ink.argmax(axis=1), seams.height - has_ink[:, ::-1].argmax(axis=1)
    # Ink in each row, [spans, height]. It is negative where the last seam is to the left of the first one.
    signed_ink = seams.cumulative_ink[lasts] - seams.cumulative_ink[first]
    ink, lost_ink = np.maximum(signed_ink, 0).sum(axis=1), np.maximum(-signed_ink, 0).sum(axis=1)
    gap = np.maximum.accumulate(np.concatenate(([0], nearest.gap[lasts[:-1]])))
    return Spans(np.full(len(lasts), first), lasts, top, bottom, left, right, gap, ink), lost_ink
