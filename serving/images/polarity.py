"""Polarity of an image: dark ink on bright paper, or the reverse.

The image is separated into ink and paper under both assumptions, and what each finds as handwriting gets a score
(logistic regression). Strokes have an edge along their whole outline, contrast with all that is around them, and are
long beside their width; they neither lie along the border of the image nor fill the sides of their bounding box. The
wrong assumption finds paper: a piece of it between strokes and a frame, the inside of a loop, the whole sheet, or
slivers along the edges of strokes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from serving.errors import NoInkError
from serving.images import components, digit, ink, morphology
from serving.images.components import Integers, Mask
from serving.images.ink import Grey, InkMap

# Images are compared at a whole fraction of their size, down to about this side.
SIDE = 64
# The contrast of strokes of some width is not reduced to less than this share.
MIN_CONTRAST_LEFT = 0.35
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
# Weights of a logistic regression, fitted to the right and the wrong polarity of hard images.
EDGES, SEPARATION, LENGTH, CONTRAST, AT_THE_BORDER, FILLED_SIDES = 15.8, 9.9, 5.4, 6.1, -3.0, -50.0
# The likelier polarity of 49 of 50 usual images has this score, and its ink covers no more than this share of the
# image. Then it is right, and the other one is not tried: sheets and discs that are taken for ink are larger.
CERTAIN = 37.0
LITTLE_INK = 0.2


class Polarity(NamedTuple):
    """Polarity of an image.

    Attributes:
        is_paper_bright: whether the paper is brighter than the ink.
        mask: of the handwriting on the downsampled image, `[height / factor, width / factor]`.
        factor: of the downsampling.
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
    smooth, factor = _reduced(grey)
    is_mostly_bright = 2 * int(components.upper_median(smooth)) >= int(smooth.min()) + int(smooth.max())
    best, polarity = -math.inf, None
    for is_paper_bright in (is_mostly_bright, not is_mostly_bright):
        ink_map = ink.separate_ink(smooth, is_paper_bright=is_paper_bright)
        try:
            mask = digit.digit_mask(ink_map.ink, choose)
        except NoInkError:
            continue
        score = _score(smooth, ink_map, mask)
        if score > best:
            best, polarity = score, Polarity(is_paper_bright, mask, factor)
        if score >= CERTAIN and np.count_nonzero(mask) <= LITTLE_INK * mask.size:
            break
    if polarity is None:
        raise NoInkError("no ink found in the image")
    return polarity


def _reduced(grey: Grey) -> tuple[Grey, int]:
    """Return an image without noise, and the factor by which it is downsampled.

    Lines of a pixel or two would vanish. Where they are all there is, and there is no noise, an image stays as it is.
    """
    factor = max(1, max(grey.shape) // SIDE)
    smooth = ink.mean_filtered(ink.downsampled(grey, factor))
    if np.ptp(smooth) < MIN_CONTRAST_LEFT * np.ptp(grey) and digit.noise(grey.astype(np.float32)) < 1:
        return ink.mean_filtered(grey), 1
    return smooth, factor


def _score(smooth: Grey, ink_map: InkMap, mask: Mask) -> float:
    """Return how much the pixels of a mask are like strokes: the logit that they are handwriting."""
    around = components.bounding_slices(mask, MARGIN)
    strokes, grey = mask[around], smooth[around]
    outline = np.nonzero(strokes & ~morphology.eroded(strokes))
    area, brightness = int(np.count_nonzero(strokes)), float(grey[strokes].mean())
    contrast = abs(brightness - float(components.upper_median(ink_map.paper[around][strokes])))
    length = len(outline[0]) ** 2 / (4 * area)  # the mean width is twice the area for each pixel of the outline
    return (
        EDGES * _edge_share(grey, outline, EDGE_SHARE * contrast)
        + SEPARATION * _separation(grey, area, brightness)
        + LENGTH * math.log(min(length, LONG))
        + CONTRAST * contrast / max(1, int(np.ptp(smooth)))
        + AT_THE_BORDER * _share(components.border(mask))
        + FILLED_SIDES * max(0, _filled_sides(mask[components.bounding_slices(mask)]) - USUAL_SIDES)
    )


def _share(mask: Mask) -> float:
    return np.count_nonzero(mask) / mask.size


def _edge_share(grey: Grey, outline: tuple[Integers, ...], min_difference: float) -> float:
    """Return the share of an outline that has an edge of at least this difference in brightness."""
    offsets = np.arange(EDGE_WINDOW)[:, None] - EDGE_WINDOW // 2
    rows, columns = (np.clip(at + offsets, 0, size - 1) for at, size in zip(outline, grey.shape, strict=True))
    windows = grey[rows[:, None], columns].reshape(EDGE_WINDOW**2, -1)
    return _share(windows.max(axis=0) - windows.min(axis=0) > min_difference)


def _separation(grey: Grey, area: int, brightness: float) -> float:
    """Return the share of the variance of the brightness that is between some pixels and the rest (Otsu, 1979).

    Args:
        grey: all pixels, `[height, width]`.
        area: number of some of them.
        brightness: mean of these.
    """
    share = area / grey.size
    if share == 1:
        return 0.0
    values = grey.ravel().astype(np.float64)
    mean = float(values.sum()) / values.size
    variance = float(values @ values) / values.size - mean**2
    return share / (1 - share) * (brightness - mean) ** 2 / max(variance, 1e-6)


def _filled_sides(box: Mask) -> float:
    """Return the share that a mask fills of the side of its box that it fills least."""
    depth = max(1, round(TILT * min(box.shape)))
    sides = (box[:depth], box[-depth:], box[:, :depth].T, box[:, -depth:].T)
    return min(_share(np.asarray(side.any(axis=0))) for side in sides)
