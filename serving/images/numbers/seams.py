"""Seams: paths from the top to the bottom of a line of handwriting that cross as little ink as possible.

A seam between two digits goes through the gap between them, even if their boxes overlap, or through the narrowest place
where they touch. The digits of a line are found among the pieces between seams.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serving.images.components import Floats, Integers

# Distance between the places where seams are sought, and how far a seam may move aside from there, as shares of the
# height of the line.
STEP = 0.05
REACH = 0.15
# How many columns to the left a seam goes from one row to the next, apart from its moves.
SLANTS = (-0.35, 0.0)
# Cost, in strokes crossed, of a seam that goes at 45 degrees from top to bottom, and of one at the end of its reach.
SLOPE_COST = 0.3
ASIDE_COST = 0.2
# Seams that cross more strokes than this go through digits.
MOST_STROKES = 2.5
# A seam that crosses less is in a gap, and no other seam crosses it.
CLEAN = 0.15
# Ink between two seams at least, as a share of that of an upright stroke as high as the line.
LEAST_INK = 0.2


@dataclass(frozen=True)
class Seams:
    """Seams of a line from left to right.

    Attributes:
        columns: the first column to the right of each seam in each row, `[n, height]`.
        strokes: how many strokes each crosses, `[n]`.
    """

    columns: Integers
    strokes: Floats

    def pieces(self, width: int) -> Integers:
        """Return the number of the piece that each pixel belongs to, `[height, width]`; seam k ends piece k."""
        places = np.arange(width)
        numbers = np.zeros((self.columns.shape[1], width), np.intp)
        for column in self.columns:
            numbers += places >= column[:, None]
        return numbers


def find(ink: Floats, stroke_width: float, most: int) -> Seams:
    """Return the seams of a line.

    Args:
        ink: of each pixel, `[height, width]`, 0 to 1.
        stroke_width: in pixels.
        most: number of seams; those that cross the least ink are kept.
    """
    columns, strokes = _cheapest_paths(ink, stroke_width)
    total = np.pad(np.cumsum(ink, axis=1), ((0, 0), (1, 0)))
    to_the_left = _ink_before(total, columns)
    least = LEAST_INK * stroke_width * len(ink)
    kept: list[int] = []
    for number in np.argsort(strokes, kind="stable"):
        if strokes[number] > MOST_STROKES or len(kept) == most:
            break
        left = to_the_left[number]
        has_ink = min(left, to_the_left[-1] - left) >= least and (np.abs(to_the_left[kept] - left) >= least).all()
        gaps = [other for other in kept if strokes[other] <= CLEAN]
        if has_ink and not _crosses(columns[number], columns[gaps]):
            kept.append(int(number))
    kept.sort(key=lambda number: float(to_the_left[number]))
    return _in_order(Seams(columns[kept], strokes[kept]), total, least / 2)


def _in_order(crossing: Seams, total: Floats, least: float) -> Seams:
    """Return seams that touch instead of crossing, without those that leave less ink than `least` between them."""
    columns, strokes = crossing.columns, crossing.strokes
    while len(strokes):
        in_order = np.maximum.accumulate(columns, axis=0)
        before = np.concatenate(([0], _ink_before(total, in_order), [total[:, -1].sum()]))
        piece = int(np.argmin(np.diff(before)))
        if before[piece + 1] - before[piece] >= least:
            return Seams(in_order, strokes)
        beside = [number for number in (piece - 1, piece) if 0 <= number < len(strokes)]
        worst = max(beside, key=lambda number: float(strokes[number]))
        columns, strokes = np.delete(columns, worst, axis=0), np.delete(strokes, worst)
    return Seams(columns, strokes)


def _crosses(column: Integers, others: Integers) -> bool:
    """Return whether a seam crosses one of the others; it may touch them."""
    return not bool(((others <= column).all(axis=1) | (others >= column).all(axis=1)).all())


def _ink_before(total: Floats, columns: Integers) -> Floats:
    """Return the ink to the left of each seam; `total` is the ink before each column in each row."""
    before: Floats = total[np.arange(len(total)), columns].sum(axis=1)
    return before


def _cheapest_paths(ink: Floats, stroke_width: float) -> tuple[Integers, Floats]:
    """Return the cheapest path near each of the places along a line: its columns in each row, and its cost in strokes.

    Places are from the left end of the line to the right end, both included.
    """
    height, width = ink.shape
    step, reach = max(1, round(STEP * height)), max(2, round(REACH * height))
    places = np.append(np.arange(0, width, step), width)
    aside = np.arange(-reach, reach + 1)
    middles = (places + np.multiply.outer(np.arange(height) - height / 2, SLANTS)[..., None]).reshape(height, -1)
    columns = np.clip(np.rint(middles).astype(np.intp)[..., None] + aside, 0, width)
    padded = np.pad(ink, ((0, 0), (0, 1)))  # a path along the right end crosses nothing
    constant = (ASIDE_COST * stroke_width / height / reach * np.abs(aside)).astype(np.float32)
    slope = np.float32(SLOPE_COST * stroke_width / height)
    cost = np.zeros(columns.shape[1:], np.float32)
    moves = np.zeros(columns.shape, np.int8)
    for row in range(height):
        best = cost.copy()
        move = moves[row]
        for way, source, target in ((-1, slice(None, -1), slice(1, None)), (1, slice(1, None), slice(None, -1))):
            offered = cost[:, source] + slope
            is_cheaper = offered < best[:, target]
            np.copyto(best[:, target], offered, where=is_cheaper)
            move[:, target][is_cheaper] = way
        cost = best + padded[row][columns[row]] + constant
    numbers = np.arange(columns.shape[1])
    ends = np.argmin(cost, axis=1)
    paths = np.empty((len(numbers), height), np.intp)
    at = ends
    for row in range(height - 1, -1, -1):
        paths[:, row] = columns[row, numbers, at]
        at = at + moves[row, numbers, at]
    return paths, (cost[numbers, ends] / max(stroke_width, 1)).astype(np.float32)
