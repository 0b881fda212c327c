"""Morphology of strokes: erosion and dilation of a mask, and the width and length of strokes."""

from __future__ import annotations

import numpy as np

from serving.images.components import Components, Floats, Mask


def eroded(mask: Mask) -> Mask:
    """Return the mask eroded by a cross of 3x3."""
    result = np.zeros_like(mask)
    interior = result[1:-1, 1:-1]
    np.logical_and(mask[:-2, 1:-1], mask[2:, 1:-1], out=interior)
    for neighbours in (mask[1:-1, :-2], mask[1:-1, 2:], mask[1:-1, 1:-1]):
        interior &= neighbours
    return result


def dilated(mask: Mask, radius: int) -> Mask:
    """Return a mask dilated by a square with this distance from its centre to its sides."""
    for axis in (0, 1):
        lines = mask.swapaxes(0, axis)
        result = lines.copy()
        for distance in range(1, radius + 1):
            result[distance:] |= lines[:-distance]
            result[:-distance] |= lines[distance:]
        mask = result.swapaxes(0, axis)
    return mask


def stroke_width(mask: Mask) -> float:
    """Return the mean width of the strokes in pixels: twice their area for each pixel of their outline."""
    area = np.count_nonzero(mask)
    edge = area - np.count_nonzero(eroded(mask))
    return 2 * area / edge if edge else 0.0


def stroke_lengths(parts: Components) -> Floats:
    """Return the length of the strokes of each component: half of its outline."""
    is_outline = ~eroded(parts.mask)[parts.mask]
    outlines = np.bincount(parts.of_pixel[is_outline], minlength=len(parts))
    return outlines.astype(np.float32) / np.float32(2)
