"""Seams of a line of handwriting: paths from its top to its bottom that cross as little ink as possible.

They are found by dynamic programming, as in seam carving (Avidan and Shamir, Seam carving for content-aware image
resizing, 2007). The cost of a pixel is its ink, so a seam between two digits goes through the gap between them, even if
their bounding boxes overlap, or through the place where they touch. Ink far from any outline costs little: two strokes
have merged there, and a seam can follow a long contact between them instead of crossing one.

A line is over-segmented: many seams cut through digits. `sequence` decides which of them separate digits.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from serving.images.components import Floats, Integers, Mask
from serving.images.morphology import eroded

Costs = npt.NDArray[np.float64]
Steps = npt.NDArray[np.int8]

# Higher lines are downsampled by a whole factor to about this height before seams are sought.
WORKING_HEIGHT = 96
# Seams go through local minima of the cost in this many rows, and through the lowest ones of all these minima.
SAMPLED_ROWS = 16
MAX_MINIMA = 1024
# Cost, in strokes crossed, of moving sideways by the height of the line, and of going straight down all of it.
SIDEWAYS_COST = 0.5
DOWNWARD_COST = 0.01
DIAGONAL_LENGTH = 2**0.5
# Ink at least this far from the outline, as a multiple of the stroke width, costs only a share.
CORE_DEPTH = 0.42
CORE_SHARE = 0.05
# Seams that cross more strokes than this go through digits.
MAX_STROKES = 2.25
# A seam that crosses no more than this is in a gap.
MAX_GAP_STROKES = 0.15
# Ink between any two seams, as a share of that of an upright stroke as high as the line.
MIN_INK_BETWEEN = 0.13


@dataclass(frozen=True)
class Seams:
    """Seams of a line from left to right. The first is the left end of the line, and the last its right end.

    Attributes:
        columns: the first column to the right of each seam in each row, `[seams, height]`.
        strokes: how many strokes each crosses, `[seams]`; 0 for the ends.
        cumulative_ink: ink to the left of each seam in each row, in pixels, `[seams, height]`.
    """

    columns: Integers
    strokes: Floats
    cumulative_ink: Floats

    def __len__(self) -> int:
        return len(self.strokes)

    @property
    def height(self) -> int:
        """Height of the line in pixels."""
        return int(self.columns.shape[1])

    @property
    def is_in_gap(self) -> Mask:
        """Which seams are in gaps, `[seams]`; the ends of the line are."""
        return self.strokes <= MAX_GAP_STROKES


def find(ink: Floats, stroke_width: float, limit: int) -> Seams:
    """Return the seams of a line.

    Args:
        ink: of each pixel, `[height, width]`, 0 to 1.
        stroke_width: in pixels.
        limit: largest number of seams besides the ends; those that cross the least ink are kept.
    """
    height, width = ink.shape
    factor = max(1, round(height / WORKING_HEIGHT))
    columns, strokes = _seams_through_minima(_downsampled(ink, factor), max(1.0, stroke_width / factor))
    columns = np.minimum(columns.repeat(factor, axis=1)[:, :height] * factor, width)
    columns = np.concatenate(([[0] * height, [width] * height], columns))
    strokes = np.concatenate(([0, 0], strokes)).astype(np.float32)
    integral = np.pad(np.cumsum(ink, axis=1), ((0, 0), (1, 0)))
    cumulative_ink = integral[np.arange(height), columns]
    kept = _without_duplicates(cumulative_ink, strokes, MIN_INK_BETWEEN * stroke_width * height, limit)
    kept = kept[np.argsort(cumulative_ink[kept].sum(axis=1), kind="stable")]
    return Seams(columns[kept], strokes[kept], cumulative_ink[kept])


def _without_duplicates(cumulative_ink: Floats, strokes: Floats, min_ink: float, limit: int) -> Integers:
    """Return the seams to keep (greedy non-maximum suppression): both ends, then the cheapest that are not duplicates.

    Args:
        cumulative_ink, strokes: as in `Seams`, with both ends of the line first.
        min_ink: a seam with less ink between itself and one that is kept is a duplicate.
        limit: largest number of seams besides the ends.
    """
    kept = [0, 1]
    for number in np.argsort(strokes[2:], kind="stable") + 2:
        if len(kept) == limit + 2:
            break
        if np.abs(cumulative_ink[kept] - cumulative_ink[number]).sum(axis=1).min() >= min_ink:
            kept.append(int(number))
    return np.array(kept)


def _downsampled(ink: Floats, factor: int) -> Floats:
    """Return ink `[height, width]` reduced by a whole factor: each pixel is the mean of a square of this side."""
    if factor == 1:
        return ink
    padded = np.pad(ink, [(0, -size % factor) for size in ink.shape])
    height, width = (size // factor for size in padded.shape)
    means: Floats = padded.reshape(height, factor, width, factor).mean(axis=(1, 3))
    return means


def _seams_through_minima(ink: Floats, stroke_width: float) -> tuple[Integers, Floats]:
    """Return the cheapest seams through pixels that are local minima of the cost in their row.

    Args:
        ink: of each pixel, `[height, width]`, 0 to 1.
        stroke_width: in pixels.

    Returns:
        The column of each seam in each row, `[seams, height]`, and the strokes that it crosses, `[seams]`.
    """
    height = len(ink)
    pixel_cost = _pixel_cost(ink, stroke_width)
    paths = _cheapest_paths(np.stack((pixel_cost, pixel_cost[::-1])))  # from the top, and from the bottom
    cost = paths.cost[0] + paths.cost[1, ::-1] - pixel_cost  # of the cheapest seam through each pixel
    sampled = np.unique(np.linspace(0, height - 1, SAMPLED_ROWS).round().astype(np.intp))
    padded = np.pad(cost[sampled], ((0, 0), (1, 1)), constant_values=np.inf)
    here = padded[:, 1:-1]
    at, columns = np.nonzero((here < padded[:, :-2]) & (here <= padded[:, 2:]) & (here <= MAX_STROKES))
    lowest = np.argsort(here[at, columns], kind="stable")[:MAX_MINIMA]
    rows, columns = sampled[at[lowest]], columns[lowest]
    from_top = paths.backtrack(0, rows, columns)
    from_bottom = paths.backtrack(1, height - 1 - rows, columns)[:, ::-1]
    seams = np.where(np.arange(height) <= rows[:, None], from_top, from_bottom)
    return seams, cost[rows, columns].astype(np.float32)


def _pixel_cost(ink: Floats, stroke_width: float) -> Floats:
    """Return the cost of crossing each pixel, in strokes, `[height, width]`: a whole stroke costs 1."""
    core = np.pad(ink > 0.5, 1)
    for layer in range(max(1, round(CORE_DEPTH * stroke_width))):
        # Squares and crosses in turn are nearly a disc.
        core = _eroded_by_square(core) if layer % 3 == 1 else eroded(core)
    cost: Floats = ink * np.where(core[1:-1, 1:-1], np.float32(CORE_SHARE), np.float32(1)) / np.float32(stroke_width)
    return cost


def _eroded_by_square(mask: Mask) -> Mask:
    """Return the mask eroded by a square of 3x3."""
    result = np.zeros_like(mask)
    rows = mask[:-2] & mask[1:-1] & mask[2:]
    result[1:-1, 1:-1] = rows[:, :-2] & rows[:, 1:-1] & rows[:, 2:]
    return result


@dataclass(frozen=True)
class _CheapestPaths:
    """Tables of the dynamic programming: the cheapest path from the first row of a grid to each of its pixels.

    A path enters each row from the row above, straight or diagonally, and may then move sideways along the row.

    Attributes:
        cost: of the path to each pixel, in strokes, `[grids, height, width]`.
        entries: column at which the path to each pixel enters the row of the pixel, `[grids, height, width]`.
        steps: change of column (-1, 0, 1) by which a path enters a row at each pixel, `[grids, height, width]`.
    """

    cost: Floats
    entries: Integers
    steps: Steps

    def backtrack(self, grid: int, rows: Integers, columns: Integers) -> Integers:
        """Return the column of the path to each pixel in each row, `[pixels, height]`.

        Args:
            grid: number of the grid.
            rows, columns: of the pixels, `[pixels]`. In rows below a pixel, the result is the pixel's own column.
        """
        entries, steps = self.entries[grid], self.steps[grid]
        result = np.repeat(columns[:, None], len(entries), axis=1)
        at = columns
        for row in range(int(rows.max(initial=-1)), -1, -1):
            result[:, row] = at
            entry = entries[row, at]
            at = np.where(row <= rows, entry - steps[row, entry], at)
        return result


def _cheapest_paths(pixel_cost: Floats) -> _CheapestPaths:
    """Return the cheapest paths through grids: down, diagonally and sideways, but not up.

    Args:
        pixel_cost: cost of entering each pixel, in strokes, `[grids, height, width]`.
    """
    grids, height, width = pixel_cost.shape
    sideways = np.float32(SIDEWAYS_COST / height)
    diagonal = np.float32(DIAGONAL_LENGTH) * pixel_cost + sideways
    # Moving right from pixel a to b costs rightward[b] - rightward[a]; moving left costs leftward[a] - leftward[b].
    rightward = np.cumsum(pixel_cost + sideways, axis=2, dtype=np.float64)
    leftward = rightward - pixel_cost - SIDEWAYS_COST / height
    cost, entries = np.empty_like(pixel_cost), np.empty(pixel_cost.shape, np.intp)
    steps = np.zeros(pixel_cost.shape, np.int8)
    above = np.zeros((grids, width))
    for row in range(height):
        straight = above + pixel_cost[:, row] + DOWNWARD_COST / height
        entered, steps[:, row] = _enter_row(straight, above, diagonal[:, row])
        above, entries[:, row] = _move_along_row(entered, rightward[:, row], leftward[:, row])
        cost[:, row] = above
    return _CheapestPaths(cost, entries, steps)


def _enter_row(straight: Costs, above: Costs, diagonal: Floats) -> tuple[Costs, Steps]:
    """Return the lowest cost of entering a row at each of its pixels, and the step that does; all are `[grids, width]`.

    Args:
        straight: cost of the paths that enter the row straight down.
        above: cost of the paths to the pixels of the row above.
        diagonal: cost of a diagonal step to each pixel.
    """
    cost, steps = straight.copy(), np.zeros(straight.shape, np.int8)
    for step, source, target in ((1, slice(None, -1), slice(1, None)), (-1, slice(1, None), slice(None, -1))):
        offered = above[:, source] + diagonal[:, target]
        cheaper = offered < cost[:, target]
        np.copyto(cost[:, target], offered, where=cheaper)
        steps[:, target][cheaper] = step
    return cost, steps


def _move_along_row(entered: Costs, rightward: Costs, leftward: Costs) -> tuple[Costs, Integers]:
    """Return the cost of the cheapest path to each pixel of a row, and the column where it enters the row.

    Args:
        entered: cost of entering the row at each pixel, `[grids, width]`, as the results.
        rightward, leftward: cumulative cost of moving along the row, `[grids, width]`.
    """
    from_left, left_entries = _running_minimum(entered - rightward)
    from_right, right_entries = _running_minimum((entered + leftward)[:, ::-1])
    from_left += rightward
    from_right = from_right[:, ::-1] - leftward
    entries = np.where(from_right < from_left, entered.shape[1] - 1 - right_entries[:, ::-1], left_entries)
    return np.minimum(from_right, from_left), entries


def _running_minimum(values: Costs) -> tuple[Costs, Integers]:
    """Return the running minimum of each row `[rows, width]`, and the column where each of its values is."""
    lowest = np.minimum.accumulate(values, axis=1)
    columns = np.arange(values.shape[1])
    return lowest, np.maximum.accumulate(np.where(values <= lowest, columns, 0), axis=1)
