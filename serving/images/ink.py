"""Ink of an image: how much each pixel differs from the paper around it, however the paper is lit.

The paper is what a morphological closing leaves of dark ink, or an opening of bright ink: both remove strokes, and keep
edges of shadows (Serra, Image Analysis and Mathematical Morphology, 1982).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from serving.images.components import Floats

Grey = npt.NDArray[np.uint8]
Pixel = TypeVar("Pixel", bound=np.generic)

# Side of the window of the closing, as a share of the larger side of the image; wider strokes are taken for paper.
WINDOW_SHARE = 0.36
SMALLEST_WINDOW = 11
# Of a side of an image: the share near ink from which on it is asked, and the share up to which a brightness is noise.
BORDER_SHARE = 0.3
UNIFORM_SHARE = 0.04
# How far from a half the share of bright pixels inside has to be to outvote a border of one brightness.
DECISIVE = 0.2
# A share of bright pixels that is nearer to a half than this is that of a shadow's edge across the border.
UNDECIDED = 0.12
# Brightness below which paper is not divided by: the ratio would be noise.
DARKEST_PAPER = 40
# Share of a side, at both of its ends, where frames and edges of the sheet are.
MARGIN_SHARE = 0.1
# A colour channel is used instead of the luminance if its contrast is larger by this factor.
CHANNEL_GAIN = 1.4
# Every such row and column is enough to compare the channels.
SAMPLE_STEP = 3


@dataclass(frozen=True)
class Sheet:
    """A reading of an image as ink on paper.

    Attributes:
        ink: share of the paper's brightness by which each pixel differs from it, `[height, width]`, 0 to 1.
        paper: brightness of the paper behind each pixel, `[height, width]`.
    """

    ink: Floats
    paper: Grey


def most_contrasting(colours: Grey) -> Grey:
    """Return the luminance of an image, or the colour channel that shows much more.

    Args:
        colours: luminance, red, green, and blue: `[4, height, width]`.

    Returns:
        One of them: `[height, width]`.
    """
    if len(colours) == 1:
        return _plane(colours, 0)
    sample = colours[:, ::SAMPLE_STEP, ::SAMPLE_STEP].reshape(4, -1)
    # Sorting is several times as fast as np.percentile, whose interpolation makes no difference here.
    low, middle, high = np.sort(sample, axis=1)[:, _ranks(sample.shape[1])].T.astype(np.float32)
    contrast = np.maximum(middle - low, high - middle)
    contrast[0] *= CHANNEL_GAIN
    return _plane(colours, int(np.argmax(contrast)))


def _ranks(count: int) -> list[int]:
    """Return the ranks of the first, 50th and 99th percentile among this many sorted values."""
    return [round(share * (count - 1)) for share in (0.01, 0.5, 0.99)]


def _plane(colours: Grey, number: int) -> Grey:
    plane: Grey = colours[number]
    return plane


def both_readings(grey: Grey) -> Iterator[Sheet]:
    """Yield an image `[height, width]` as dark ink on bright paper and the reverse, the likelier first."""
    smooth = _smoothed(grey)
    size = max(SMALLEST_WINDOW, round(max(grey.shape) * WINDOW_SHARE))
    highest, lowest = window_maximum(smooth, size), ~window_maximum(~smooth, size)
    is_bright = _is_paper_bright(smooth, lowest, highest)
    for bright_paper in (is_bright, not is_bright):
        if bright_paper:
            paper = ~window_maximum(~highest, size)
            difference = np.subtract(paper, grey, dtype=np.float32)
        else:
            paper = window_maximum(lowest, size)
            difference = np.subtract(grey, paper, dtype=np.float32)
        yield Sheet(_relative(difference, paper), paper)


def _relative(difference: Floats, paper: Grey) -> Floats:
    """Return the difference between ink and paper as a share of the paper's brightness, scaled to at most 1.

    Ink absorbs, and chalk reflects, a fixed share of the light, so the difference is smaller in the shade.
    """
    difference = np.maximum(difference, 0)
    share: Floats = np.divide(difference, np.maximum(paper, DARKEST_PAPER), dtype=np.float32)
    limit = min(1.0, float(difference.max()) / max(DARKEST_PAPER, float(np.median(paper))))
    share *= limit / max(float(share.max()), 1e-6)
    return share


def _is_paper_bright(grey: Grey, lowest: Grey, highest: Grey) -> bool:
    """Return whether the paper is brighter than the ink.

    Near ink, each pixel is either as bright as the brightest or as dark as the darkest of its window. Paper takes more
    room than ink, inside and along the border. A side of one brightness may be a frame, so the inside decides there. A
    side of both is that of an image cropped to its digit, whose strokes may fill most of the inside.
    """
    span = highest.astype(np.float32) - lowest
    is_near_ink = span > span.max() / 2
    is_bright = 2 * grey.astype(np.float32) > highest.astype(np.float32) + lowest
    rows, columns = (_without_margin(size) for size in grey.shape)
    weights = is_near_ink * rows[:, None] * columns
    inside = float((weights * is_bright).sum() / max(weights.sum(), 1e-6)) if weights.any() else 0.5
    sides = [
        bright[near]
        for bright, near in zip(_sides(is_bright), _sides(is_near_ink), strict=True)
        if near.mean() > BORDER_SHARE
    ]
    if not sides:
        return inside >= 0.5
    mixed = [side for side in sides if UNIFORM_SHARE < side.mean() < 1 - UNIFORM_SHARE]
    along = float(np.concatenate(mixed or sides).mean())
    border_decides = abs(along - 0.5) > UNDECIDED if mixed else abs(inside - 0.5) <= DECISIVE
    return (along if border_decides else inside) >= 0.5


def _sides(field: npt.NDArray[Pixel]) -> tuple[npt.NDArray[Pixel], ...]:
    """Return the four sides of an image `[height, width]`."""
    return field[0], field[-1], field[:, 0], field[:, -1]


def _without_margin(size: int) -> Floats:
    """Return weights along a side that rise from 0 at its ends to 1."""
    position = np.minimum(np.arange(size), np.arange(size)[::-1]) / size
    weights: Floats = np.clip((position - MARGIN_SHARE) / MARGIN_SHARE, 0, 1).astype(np.float32)
    return weights


def _smoothed(grey: Grey) -> Grey:
    """Return the mean of each pixel and its neighbours, which a single noisy pixel hardly changes."""
    wide = np.pad(grey, 1, mode="edge").astype(np.uint16)
    rows = wide[:-2] + wide[1:-1] + wide[2:]
    means: Grey = ((rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) // 9).astype(np.uint8)
    return means


def window_maximum(values: Grey, size: int) -> Grey:
    """Return the maximum of the square window of this side around each pixel; outside the image is nothing."""
    for axis in (0, 1):
        values = _line_maximum(values.swapaxes(0, axis), size).swapaxes(0, axis)
    return values


def _line_maximum(values: Grey, size: int) -> Grey:
    before = size // 2
    padded = np.zeros((values.shape[0] + size - 1, values.shape[1]), np.uint8)
    padded[before : before + len(values)] = values
    reach = 1  # each step doubles the window that a row is the maximum of
    while reach < size:
        step = min(reach, size - reach)
        padded = np.maximum(padded[: len(padded) - step], padded[step:])
        reach += step
    return padded
