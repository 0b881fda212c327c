"""Printed lines of boxes, tables and ruled or squared paper, which are removed from a mask of ink.

A line fills its rows, or columns, from one side of the image or of its box to the other. Strokes that cross it remain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from serving.images import components
from serving.images.components import Components, Integers, Mask
from serving.images.morphology import dilated, stroke_width

# Printed lines are thinner than this share of the width of the strokes, unless there are several.
LINE_THICKNESS = 0.6
SEVERAL_LINES = 3
# The lines of a box may be drawn with the same pen, and are no wider than this multiple of the width of the strokes.
BOX_THICKNESS = 1.5
# A printed line fills this share of each section of its row.
LINE_SECTIONS = 12
LINE_FILL = 0.6
# So many of the largest components may be boxes, with a smaller side of at least so many pixels.
MAX_BOXES = 32
MIN_BOX = 8
# A box may be tilted by up to this slope. The slopes of opposite sides differ by less than the tolerance.
MAX_SLOPE = 0.12
SLOPE_TOLERANCE = 0.03
# Up to this share of the columns of a box is shorter than that of its height.
MAX_SHORT = 0.1
MIN_EXTENT = 0.6
# The lines of a box are drawn by hand, or tilted by less than the pixels show.
UNEVENNESS = 2
# What a box has inside is higher than this share of it.
MIN_INSIDE = 0.1
# A component that touches more of a side of the image than this is a frame, or the edge of the sheet.
WHOLE_SIDE = 0.92


def without_printed_lines(mask: Mask) -> Components:
    """Return the components of a mask without the lines of boxes, tables and ruled or squared paper."""
    parts = components.label(mask)
    rest = without_lines(_without_boxes(parts))
    return parts if rest is mask else components.label(rest)


def _without_boxes(parts: Components) -> Mask:
    """Return the mask of components without the lines of boxes and tables, also those between their cells.

    A box or a table is a component with lines from one side of it to the other, at least two in each direction, and
    something of some size between them.
    """
    mask = parts.mask
    for number in parts.largest(MAX_BOXES, MIN_BOX):
        if parts.border_contact[number] > WHOLE_SIDE:
            continue
        around = parts.slices(number)
        own = parts.select(np.arange(len(parts)) == number)[around]
        if not _is_enclosed(own if own.shape[1] >= len(own) else own.T):
            continue
        tilt = _Tilt.of(own)
        own, all_ink = tilt.straightened(own), tilt.straightened(mask[around])
        rows, columns = _uneven_lines(own), _uneven_lines(own.T)
        if not (rows.any() and columns.any()):
            continue
        across, down = (components.label(lines[None]) for lines in (rows, columns))
        if min(len(across), len(down)) < 2:
            continue
        rest = _erased(all_ink, rows, columns)
        inside = components.label(rest)
        widest = max(int(across.area.max()), int(down.area.max()))
        if widest <= BOX_THICKNESS * stroke_width(rest) and (inside.height > MIN_INSIDE * len(own)).any():
            mask = mask.copy()
            mask[around] &= ~tilt.restored(all_ink & ~rest)
    return mask


def _is_enclosed(box: Mask) -> bool:
    """Return whether nearly all columns reach from about the upper side to the lower; quick, and true of few digits."""
    extents = len(box) - box.argmax(axis=0) - box[::-1].argmax(axis=0)
    few = int(MAX_SHORT * len(extents))
    return bool(np.partition(extents, few)[few] >= MIN_EXTENT * len(box))


@dataclass(frozen=True)
class _Tilt:
    """How far each column and each row of a tilted box is to be moved, so that its sides are straight.

    Attributes:
        up: pixels for each column.
        left: pixels for each row that the moved columns have, within `rows`.
        rows, columns: bounding box of what has been moved, in the padded image.
        shape: of the image.
    """

    up: Integers
    left: Integers
    rows: slice
    columns: slice
    shape: tuple[int, int]

    @classmethod
    def of(cls, box: Mask) -> Self:
        """Return the tilt of a component, by its outline; `box` is its bounding box."""
        up = _shifts(box)
        moved = _moved(box, up)
        rows, _ = components.bounding_slices(moved)
        left = _shifts(moved[rows].T)
        columns, _ = components.bounding_slices(_moved(moved[rows].T, left))
        return cls(up, left, rows, columns, (box.shape[0], box.shape[1]))

    def straightened(self, image: Mask) -> Mask:
        """Return what has been moved, within the bounding box of the component."""
        return _moved(_moved(image, self.up)[self.rows].T, self.left)[self.columns].T

    def restored(self, straight: Mask) -> Mask:
        """Return an image from what `straightened` has made of it."""
        padded = np.zeros((self.shape[1] + 2 * _padding(self.left), straight.shape[0]), bool)
        padded[self.columns] = straight.T
        rows = _moved_back(padded, self.left).T
        padded = np.zeros((self.shape[0] + 2 * _padding(self.up), self.shape[1]), bool)
        padded[self.rows] = rows
        return _moved_back(padded, self.up)


def _shifts(box: Mask) -> Integers:
    """Return by how many pixels each column is to be moved up, so that the upper and lower sides of a box are level."""
    height, width = box.shape
    quarter = width // 4
    if not quarter:
        return np.zeros(width, np.intp)
    edges = box.argmax(axis=0), height - 1 - box[::-1].argmax(axis=0)
    slopes = [float(np.median(edge[-quarter:]) - np.median(edge[:quarter])) / (width - quarter) for edge in edges]
    slope = sum(slopes) / 2
    if abs(slopes[0] - slopes[1]) > SLOPE_TOLERANCE or abs(slope) > MAX_SLOPE:
        slope = 0.0
    shifts: Integers = np.rint(slope * (np.arange(width) - width / 2)).astype(np.intp)
    return shifts


def _padding(shifts: Integers) -> int:
    return int(np.abs(shifts).max(initial=0))


def _moved(image: Mask, shifts: Integers) -> Mask:
    """Return an image, padded above and below, with each column moved up."""
    padding = _padding(shifts)
    moved = np.zeros((len(image) + 2 * padding, image.shape[1]), bool)
    rows, columns = np.nonzero(image)
    moved[rows + padding - shifts[columns], columns] = True
    return moved


def _moved_back(moved: Mask, shifts: Integers) -> Mask:
    """Return the image that `_moved` has padded and moved."""
    padding = _padding(shifts)
    image = np.zeros((len(moved) - 2 * padding, moved.shape[1]), bool)
    rows, columns = np.nonzero(moved)
    rows = rows - padding + shifts[columns]
    is_inside = (rows >= 0) & (rows < len(image))
    image[rows[is_inside], columns[is_inside]] = True
    return image


def without_lines(mask: Mask) -> Mask:
    """Return a mask without the printed lines of ruled or squared paper, but with the strokes that cross them."""
    rows, columns = _lines(mask), _lines(mask.T)
    if not rows.any() and not columns.any():
        return mask
    width = stroke_width(mask & ~rows[:, None] & ~columns[None])
    if not width:
        return mask
    return _erased(mask, _thin(rows, width), _thin(columns, width))


def _erased(mask: Mask, rows: Mask, columns: Mask) -> Mask:
    """Return a mask without lines, but with the strokes that cross them."""
    rest = mask & ~rows[:, None] & ~columns[None]
    crossing = _crossing(rest, rows) | _crossing(rest.T, columns).T
    return rest | (mask & crossing)


def _thin(lines: Mask, width: float) -> Mask:
    """Return the rows of lines that are thin beside strokes of this width; all of them if there are several lines."""
    bands = components.label(lines[None])
    if len(bands) >= SEVERAL_LINES:
        return lines
    return bands.select(bands.area <= max(1, LINE_THICKNESS * width)).ravel()


def _crossing(rest: Mask, lines: Mask) -> Mask:
    """Return the parts of lines, which `rest` lacks, where a stroke arrives from above or below."""
    crossing = np.zeros_like(rest)
    bands = components.label(lines[None])
    for first, last in zip(bands.left, bands.right, strict=True):
        around = np.concatenate((rest[max(first - 2, 0) : first], rest[last : last + 2]))
        crossing[first:last] = dilated(around.max(axis=0, keepdims=True), 1)
    return crossing


def _uneven_lines(box: Mask) -> Mask:
    """Return the rows of lines as `_lines` does, also of lines that leave their row by a pixel or so."""
    padded = np.pad(box, ((UNEVENNESS, UNEVENNESS), (0, 0)))
    rows = [padded[start : start + len(box)] for start in range(2 * UNEVENNESS + 1)]
    return _lines(np.logical_or.reduce(rows))


def _lines(mask: Mask) -> Mask:
    """Return the rows that are filled, apart from gaps, from one side of the image to the other."""
    width = mask.shape[1]
    long = np.count_nonzero(mask, axis=1) >= LINE_FILL * width
    if width < 2 * LINE_SECTIONS or not long.any():
        return np.zeros(len(mask), bool)
    bounds = np.arange(LINE_SECTIONS) * width // LINE_SECTIONS
    filled = np.add.reduceat(mask, bounds, axis=1, dtype=np.intp)
    enough: npt.NDArray[np.bool_] = (filled >= LINE_FILL * np.diff(bounds, append=width)).all(axis=1)
    return enough
