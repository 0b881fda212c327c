"""Seams: paths from the top to the bottom of a line of handwriting that cross as little ink as possible.

A seam between two digits goes through the gap between them, even if their boxes overlap, or through the place where
they touch: across a narrow one, along a long one. Ink far inside is where two strokes have merged, and costs a seam
little. Many seams go through digits. Which of them separate digits is not decided here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.images.components import Floats, Integers
from serving.images.digit import eroded

# Higher lines are reduced by a whole factor to about this height before seams are sought.
HEIGHT = 96
# Seams are sought through the cheapest places of this many rows, and of all these places through the cheapest ones.
ROWS = 16
MOST_PLACES = 1024
# Cost, in strokes crossed, of a seam that moves aside by the height of the line, and of one that goes straight down.
ASIDE = 0.5
DOWN = 0.01
DIAGONAL = 2**0.5
# Ink at least this far from the outline, as a multiple of the width of a stroke, costs only a share.
DEEP = 0.42
DEEP_SHARE = 0.05
# Seams that cross more strokes than this go through digits.
MOST_STROKES = 2.25
# A seam that crosses less is in a gap.
CLEAN = 0.15
# Ink between two seams at least, as a share of that of an upright stroke as high as the line.
LEAST_INK = 0.13
# How far a way moves to the right as it enters a row.
MOVES = (0, 1, -1)


@dataclass(frozen=True)
class Seams:
    """Seams of a line from left to right. The first is the left end of the line, and the last its right end.

    Attributes:
        columns: the first column to the right of each seam in each row, `[n, height]`.
        strokes: how many strokes each crosses, `[n]`; 0 for the ends.
        ink: to the left of each seam in each row, in pixels, `[n, height]`.
    """

    columns: Integers
    strokes: Floats
    ink: Floats

    def __len__(self) -> int:
        return len(self.strokes)

    @property
    def is_clean(self) -> npt.NDArray[np.bool_]:
        """Which seams are in gaps; the ends of the line are."""
        return self.strokes <= CLEAN


def find(ink: Floats, stroke_width: float, most: int) -> Seams:
    """Return the seams of a line.

    Args:
        ink: of each pixel, `[height, width]`, 0 to 1.
        stroke_width: in pixels.
        most: number of seams besides the ends; those that cross the least ink are kept.
    """
    height, width = ink.shape
    factor = max(1, round(height / HEIGHT))
    columns, strokes = _through_cheapest_places(_reduced(ink, factor), max(1.0, stroke_width / factor))
    columns = np.minimum(columns.repeat(factor, axis=1)[:, :height] * factor, width)
    columns = np.concatenate(([[0] * height, [width] * height], columns))
    strokes = np.concatenate(([0, 0], strokes)).astype(np.float32)
    total = np.pad(np.cumsum(ink, axis=1), ((0, 0), (1, 0)))
    before = total[np.arange(height), columns]
    kept = _different(before, strokes, LEAST_INK * stroke_width * height, most)
    kept = kept[np.argsort(before[kept].sum(axis=1), kind="stable")]
    return Seams(columns[kept], strokes[kept], before[kept])


def _different(before: Floats, strokes: Floats, least: float, most: int) -> Integers:
    """Return which seams to keep: the first two, and the cheapest that differ from all that are cheaper."""
    kept = [0, 1]
    for number in np.argsort(strokes[2:], kind="stable") + 2:
        if len(kept) == most + 2:
            break
        if np.abs(before[kept] - before[number]).sum(axis=1).min() >= least:
            kept.append(int(number))
    return np.array(kept)


def _reduced(ink: Floats, factor: int) -> Floats:
    if factor == 1:
        return ink
    padded = np.pad(ink, [(0, -size % factor) for size in ink.shape])
    height, width = (size // factor for size in padded.shape)
    reduced: Floats = padded.reshape(height, factor, width, factor).mean(axis=(1, 3))
    return reduced


def _through_cheapest_places(ink: Floats, stroke_width: float) -> tuple[Integers, Floats]:
    """Return the cheapest seams through places that are cheaper than those beside them: columns `[n, height]`, costs.

    Args:
        ink: of each pixel, `[height, width]`, 0 to 1.
        stroke_width: in pixels.
    """
    height = len(ink)
    crossed = _crossed(ink, stroke_width)
    ways = _cheapest_ways(np.stack((crossed, crossed[::-1])))
    cost = ways.cost[0] + ways.cost[1, ::-1] - crossed
    rows = np.unique(np.linspace(0, height - 1, ROWS).round().astype(np.intp))
    beside = np.pad(cost[rows], ((0, 0), (1, 1)), constant_values=np.inf)
    here = beside[:, 1:-1]
    at, columns = np.nonzero((here < beside[:, :-2]) & (here <= beside[:, 2:]) & (here <= MOST_STROKES))
    cheapest = np.argsort(here[at, columns], kind="stable")[:MOST_PLACES]
    at, columns = rows[at[cheapest]], columns[cheapest]
    from_top, from_bottom = ways.columns(0, at, columns), ways.columns(1, height - 1 - at, columns)[:, ::-1]
    return np.where(np.arange(height) <= at[:, None], from_top, from_bottom), cost[at, columns].astype(np.float32)


def _crossed(ink: Floats, stroke_width: float) -> Floats:
    """Return what a seam pays for each pixel that it crosses, in strokes, `[height, width]`."""
    deep = np.pad(ink > 0.5, 1)
    for layer in range(max(1, round(DEEP * stroke_width))):
        # Squares and crosses in turn make nearly a disc.
        deep = _inside_with_corners(deep) if layer % 3 == 1 else eroded(deep)
    crossed: Floats = ink * np.where(deep[1:-1, 1:-1], np.float32(DEEP_SHARE), np.float32(1)) / np.float32(stroke_width)
    return crossed


def _inside_with_corners(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return the pixels of a mask whose eight neighbours belong to it too."""
    result = np.zeros_like(mask)
    rows = mask[:-2] & mask[1:-1] & mask[2:]
    result[1:-1, 1:-1] = rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
    return result


@dataclass(frozen=True)
class _Ways:
    """The cheapest ways from the top of each of several fields to each of its pixels.

    Attributes:
        cost: in strokes, `[fields, height, width]`.
        entries: the column in which the way enters the row of the pixel, `[fields, height, width]`.
        moves: how far to the right it moves as it enters the row at a pixel, `[fields, height, width]`.
    """

    cost: Floats
    entries: Integers
    moves: npt.NDArray[np.int8]

    def columns(self, field: int, rows: Integers, columns: Integers) -> Integers:
        """Return the columns of the ways to pixels in each row, `[n, height]`; below a pixel, its own column."""
        entries, moves = self.entries[field], self.moves[field]
        result = np.repeat(columns[:, None], len(entries), axis=1)
        at = columns
        for row in range(int(rows.max(initial=-1)), -1, -1):
            result[:, row] = at
            entry = entries[row, at]
            at = np.where(row <= rows, entry - moves[row, entry], at)
        return result


def _cheapest_ways(crossed: Floats) -> _Ways:
    """Return the cheapest ways through fields `[fields, height, width]`: down, aside and diagonally, but not up.

    Args:
        crossed: what a way pays for each pixel, in strokes.
    """
    fields, height, width = crossed.shape
    ways = _Ways(np.empty_like(crossed), np.empty(crossed.shape, np.intp), np.zeros((fields, height, width), np.int8))
    places = np.arange(width)
    to_the_right = np.cumsum(crossed + np.float32(ASIDE / height), axis=2, dtype=np.float64)
    to_the_left = to_the_right - crossed - ASIDE / height
    diagonal = np.float32(DIAGONAL) * crossed + np.float32(ASIDE / height)
    above = np.zeros((fields, width))
    for row in range(height):
        best = above + crossed[:, row] + DOWN / height
        moves = ways.moves[:, row]
        for move, source, target in ((1, slice(None, -1), slice(1, None)), (-1, slice(1, None), slice(None, -1))):
            offered = above[:, source] + diagonal[:, row, target]
            cheaper = offered < best[:, target]
            np.copyto(best[:, target], offered, where=cheaper)
            moves[:, target][cheaper] = move
        right, from_left = _running(best - to_the_right[:, row], places)
        left, from_right = _running((best + to_the_left[:, row])[:, ::-1], places)
        right += to_the_right[:, row]
        left = left[:, ::-1] - to_the_left[:, row]
        ways.entries[:, row] = np.where(left < right, width - 1 - from_right[:, ::-1], from_left)
        above = np.minimum(left, right)
        ways.cost[:, row] = above
    return ways


def _running(values: npt.NDArray[np.float64], places: Integers) -> tuple[npt.NDArray[np.float64], Integers]:
    """Return the running minimum of each row `[n, width]`, and where each of its values comes from."""
    lowest = np.minimum.accumulate(values, axis=1)
    return lowest, np.maximum.accumulate(np.where(values <= lowest, places, 0), axis=1)
