"""Normalization of the stroke width: thin, fat and hollow strokes become strokes of the width in the training data.

Strokes are measured as twice their area for each pixel of their outline. Thin ones are dilated. Fat ones are thinned
layer by layer, which neither opens a loop nor tears a stroke (Zhang and Suen, A fast parallel algorithm for thinning
digital patterns, 1984). Hollow ones, of which only the outline is drawn, are filled.
"""

from __future__ import annotations

import numpy as np

from serving.images import components
from serving.images.components import Mask
from serving.images.ink import Grey, maximum_filter
from serving.images.morphology import dilated, stroke_width

# Wider strokes than this multiple of the usual width are thinned to it: the model knows fat strokes, but no blots.
FAT = 1.8
# Lines of hollow strokes are thinner than this multiple of the usual width, and than what they surround.
OUTLINE = 0.6
# The hollow of a stroke is longer than this multiple of its width, as no loop among 3,000 zeros of MNIST is, and spans
# this share of the digit's box inside its lines.
LONG = 7.5
SPAN = 0.75
INK = 127
FAINT_INK = 64


def normalized(ink: Grey, usual: float) -> Grey:
    """Return ink `[height, width]`, cropped to it, with strokes of about the usual width in pixels."""
    width = stroke_width(ink > INK)
    if width < OUTLINE * usual:
        hollow = _hollow(ink > FAINT_INK, width)
        if hollow.any():
            ink = np.where(hollow, np.uint8(255), ink)
            width = stroke_width(ink > INK)
    if (growth := round((usual - width) / 2)) > 0:
        return maximum_filter(ink, 2 * growth + 1)
    if (layers := round((width - FAT * usual) / 2)) > 0:
        thinned = _thinned(ink > INK, layers)
        return np.where(thinned, ink, 0)[components.bounding_slices(thinned)]
    return ink


def _hollow(lines: Mask, width: float) -> Mask:
    """Return what the outlines of strokes surround; nothing if the lines are not outlines.

    Args:
        lines: drawn, `[height, width]`.
        width: of the lines.
    """
    # Wider lines have no gaps, and no diagonal ones between pixels that touch at their corners.
    wide = dilated(np.pad(lines, 2), 1)
    holes = components.label(~wide)
    chosen = np.zeros(len(holes), bool)
    for number in np.flatnonzero(holes.border_contact == 0):
        hole = holes.select(np.arange(len(holes)) == number)
        across = stroke_width(hole)
        chosen[number] = across + 2 > width and holes.area[number] > LONG * across**2
    hollow = holes.select(chosen)
    if not hollow.any():
        return np.zeros_like(lines)
    spanned = (part.stop - part.start for part in components.bounding_slices(hollow))
    if any(span < SPAN * (size - 2 * width) for span, size in zip(spanned, lines.shape, strict=True)):
        return np.zeros_like(lines)
    return dilated(hollow, 2)[2:-2, 2:-2]


def _thinned(mask: Mask, layers: int) -> Mask:
    """Return a mask without this many layers of its outline, but as connected as before."""
    mask = np.pad(mask, 1)
    for _ in range(layers):
        for first in (True, False):
            mask = mask & ~_removable(mask, first=first)
    return mask[1:-1, 1:-1]


def _removable(mask: Mask, *, first: bool) -> Mask:
    """Return the pixels that a half of a step removes: to the south-east first, then to the north-west."""
    height, width = mask.shape
    wide = np.pad(mask, 1)
    clockwise = ((0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0), (1, 0), (0, 0))
    around = np.stack([wide[row : row + height, column : column + width] for row, column in clockwise])
    count = np.count_nonzero(around, axis=0)
    turns = np.count_nonzero(~around & np.roll(around, -1, axis=0), axis=0)
    north, east, south, west = around[::2]
    opposite = ~(east & south & (north | west)) if first else ~(north & west & (east | south))
    removable: Mask = (count >= 2) & (count <= 6) & (turns == 1) & opposite
    return removable
