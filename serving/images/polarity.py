"""Polarity of an image: dark ink on bright paper, or the reverse.

What both readings find as handwriting is compared. Strokes have an edge along their whole outline,
contrast with all that is around them, and are long beside their width; they neither lie along the border of the image
nor fill the sides of their box. The wrong reading finds paper: a piece of it between strokes and a frame, the inside of
a loop, the whole sheet, or slivers along the edges of strokes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from serving.errors import NoInkError
from serving.images import components, digit, ink
from serving.images.components import Mask
from serving.images.ink import Grey, Sheet, window_maximum

# Images are compared at a whole fraction of their size, down to about this side.
SIDE = 64
# Pixels around the handwriting that it is compared with, and side of the window in which an edge is sought.
MARGIN = 3
EDGE_WINDOW = 5
# An edge has this share of the contrast between handwriting and paper.
EDGE_SHARE = 0.35
# Depth of the sides of a box that a sheet fills, which may be turned a little, as a share of the box's size.
TILT = 0.1
# From this length on, as a multiple of the width, handwriting is certainly of strokes.
LONG = 16.0
# Share of each side of its box that digits may fill.
USUAL_SIDES = 0.5
# Weights of a logistic regression between the right and the wrong readings of hard images.
EDGES, SEPARATION, LENGTH, CONTRAST, AT_THE_BORDER, FILLED_SIDES = 15.8, 9.9, 5.4, 6.1, -3.0, -15.5
# One of 1,000 wrong readings of hard images has this score, and more than half of the right ones; then the other, less
# likely reading is not tried.
CERTAIN = 43.0


class Polarity(NamedTuple):
    """Polarity of an image.

    Attributes:
        is_paper_bright: whether the paper is brighter than the ink.
        mask: of the handwriting on the reduced image that was looked at, `[height / factor, width / factor]`.
        factor: by which it was reduced.
    """

    is_paper_bright: bool
    mask: Mask
    factor: int


def find(grey: Grey, choose: digit.Choice) -> Polarity:
    """Return the polarity of an image `[height, width]`.

    Args:
        grey: the image.
        choose: selects the components that are handwriting.

    Raises:
        NoInkError: there is no ink.
    """
    factor = max(1, max(grey.shape) // SIDE)
    smooth = ink.smoothed(ink.reduced(grey, factor))
    is_mostly_bright = 2 * int(components.middle(smooth)) >= int(smooth.min()) + int(smooth.max())
    best, polarity = -math.inf, None
    for is_paper_bright in (is_mostly_bright, not is_mostly_bright):
        sheet = ink.reading(smooth, bright_paper=is_paper_bright)
        try:
            mask = digit.mask(sheet.ink, choose)
        except NoInkError:
            continue
        score = _score(smooth, sheet, mask)
        if score > best:
            best, polarity = score, Polarity(is_paper_bright, mask, factor)
        if score >= CERTAIN:
            break
    if polarity is None:
        raise NoInkError("no ink found in the image")
    return polarity


def _score(smooth: Grey, sheet: Sheet, mask: Mask) -> float:
    """Return how much the handwriting of a reading is like strokes."""
    rows, columns = components.extent(mask)
    around = tuple(slice(max(0, part.start - MARGIN), part.stop + MARGIN) for part in (rows, columns))
    strokes, grey = mask[around], smooth[around]
    contrast = abs(float(grey[strokes].mean()) - float(components.middle(sheet.paper[around][strokes])))
    length = np.count_nonzero(strokes) / digit.stroke_width(mask[rows, columns]) ** 2
    return (
        EDGES * _edge_share(grey, strokes, EDGE_SHARE * contrast)
        + SEPARATION * _separation(grey, strokes)
        + LENGTH * math.log(min(length, LONG))
        + CONTRAST * contrast / max(1, int(np.ptp(smooth)))
        + AT_THE_BORDER * float(components.border(mask).mean())
        + FILLED_SIDES * max(0, _filled_sides(mask[rows, columns]) - USUAL_SIDES)
    )


def _edge_share(grey: Grey, mask: Mask, least: float) -> float:
    """Return the share of a mask's outline that has an edge of at least this difference in brightness."""
    outline = np.nonzero(mask & ~digit.inside(mask))
    offsets = np.arange(EDGE_WINDOW)[:, None] - EDGE_WINDOW // 2
    rows, columns = (np.clip(at + offsets, 0, size - 1) for at, size in zip(outline, grey.shape, strict=True))
    windows = grey[rows[:, None], columns].reshape(EDGE_WINDOW**2, -1)
    return float((windows.max(axis=0) - windows.min(axis=0) > least).mean())


def _separation(grey: Grey, mask: Mask) -> float:
    """Return the share of the variance of the brightness that is between the mask and the rest (Otsu, 1979)."""
    share = np.count_nonzero(mask) / mask.size
    if share == 1:
        return 0.0
    values = grey.astype(np.float32)
    mean, mean_of_mask = float(values.mean()), float(values[mask].mean())
    between = share / (1 - share) * (mean_of_mask - mean) ** 2
    return between / max(float(values.var()), 1e-6)


def _filled_sides(box: Mask) -> float:
    """Return the share that a mask fills of the side of its box that it fills least."""
    depth = max(1, round(TILT * min(box.shape)))
    along = (box[:depth].any(axis=0), box[-depth:].any(axis=0), box[:, :depth].any(axis=1), box[:, -depth:].any(axis=1))
    return min(float(side.mean()) for side in along)
