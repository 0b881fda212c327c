"""Printed lines of boxes, tables and ruled or squared paper, which are removed from a mask of ink.

A line fills its rows, or columns, from one side of the image or of its box to the other. Strokes that cross it remain.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from serving.images import components
from serving.images.components import Components, Mask
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
        rows, columns = _lines(own), _lines(own.T)
        if not (rows.any() and columns.any()):
            continue
        across, down = (components.label(lines[None]) for lines in (rows, columns))
        if min(len(across), len(down)) < 2:
            continue
        rest = _erased(mask[around], rows, columns)
        inside = components.label(rest)
        widest = max(int(across.area.max()), int(down.area.max()))
        if widest <= BOX_THICKNESS * stroke_width(rest) and (inside.height > MIN_INSIDE * len(own)).any():
            mask = mask.copy()
            mask[around] = rest
    return mask


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
