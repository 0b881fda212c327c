"""Ink of an image: how much each pixel differs from the paper around it, however the paper is lit.

The paper is what a morphological closing leaves of dark ink, or an opening of bright ink: both remove strokes, and keep
edges of shadows (Serra, Image Analysis and Mathematical Morphology, 1982).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.images import components
from serving.images.components import Floats

Grey = npt.NDArray[np.uint8]

# Side of the window of the closing, as a share of the larger side of the image; wider strokes are taken for paper.
WINDOW_SHARE = 0.36
MIN_WINDOW = 11
# Brightness below which paper is not divided by: the ratio would be noise.
MIN_PAPER_BRIGHTNESS = 40
# A colour channel is used instead of the luminance if its contrast is larger by this factor.
CHANNEL_GAIN = 1.4
# Every such row and column is enough for the median of the paper, and to compare the channels.
SAMPLE_STEP = 3


@dataclass(frozen=True)
class InkMap:
    """Ink and paper of an image, as estimated.

    Attributes:
        ink: share of the paper's brightness by which each pixel differs from it, `[height, width]`, 0 to 1.
        paper: brightness of the paper behind each pixel, `[height, width]`.
    """

    ink: Floats
    paper: Grey


def most_contrasting(luminance: Grey, colours: Grey) -> Grey:
    """Return the luminance of an image, or the colour channel that shows much more, `[height, width]`.

    Args:
        luminance: `[height, width]`.
        colours: the channels, `[height, width, n]`.
    """
    sample = np.concatenate((_sample(luminance[..., None]), _sample(colours)))
    # Several times as fast as np.percentile, whose interpolation makes no difference here.
    ranks = _ranks(sample.shape[1])
    low, middle, high = np.partition(sample, ranks, axis=1)[:, ranks].T.astype(np.float32)
    contrast = np.maximum(middle - low, high - middle)
    contrast[0] *= CHANNEL_GAIN
    best = int(np.argmax(contrast))
    return luminance if best == 0 else np.ascontiguousarray(colours[..., best - 1])


def _sample(planes: Grey) -> Grey:
    """Return some pixels of planes `[height, width, n]`, as `[n, pixels]`."""
    some = planes[::SAMPLE_STEP, ::SAMPLE_STEP]
    return some.transpose(2, 0, 1).reshape(some.shape[2], some.shape[0] * some.shape[1])


def _ranks(count: int) -> list[int]:
    """Return the ranks of the first, 50th and 99th percentile among this many sorted values."""
    return [round(share * (count - 1)) for share in (0.01, 0.5, 0.99)]


def separate_ink(grey: Grey, *, is_paper_bright: bool) -> InkMap:
    """Return ink and paper of an image `[height, width]`, by a closing if the paper is bright, else by an opening."""
    smooth = mean_filtered(grey)
    size = max(MIN_WINDOW, round(max(grey.shape) * WINDOW_SHARE))
    if is_paper_bright:
        paper = ~maximum_filter(~maximum_filter(smooth, size), size)
        difference = paper.astype(np.float32) - grey
    else:
        paper = maximum_filter(~maximum_filter(~smooth, size), size)
        difference = grey.astype(np.float32) - paper
    return InkMap(_relative(difference, paper), paper)


def downsampled(grey: Grey, factor: int) -> Grey:
    """Return an image `[height, width]` reduced by a whole factor: each pixel is the mean of a square of this side."""
    return grey if factor == 1 else np.asarray(Image.fromarray(grey).reduce(factor))


def _relative(difference: Floats, paper: Grey) -> Floats:
    """Return the difference between ink and paper as a share of the paper's brightness, scaled to at most 1.

    Ink absorbs, and chalk reflects, a fixed share of the light, so the difference is smaller in the shade.
    """
    np.maximum(difference, 0, out=difference)
    share: Floats = np.divide(difference, np.maximum(paper, MIN_PAPER_BRIGHTNESS).astype(np.float32))
    middle = float(components.upper_median(paper[::SAMPLE_STEP, ::SAMPLE_STEP]))
    limit = min(1.0, float(difference.max()) / max(MIN_PAPER_BRIGHTNESS, middle))
    share *= limit / max(float(share.max()), 1e-6)
    return share


def mean_filtered(grey: Grey) -> Grey:
    """Return an image filtered by the mean of 3x3 pixels, which a single noisy pixel hardly changes."""
    height, width = grey.shape
    wide = np.empty((height + 2, width + 2), np.uint16)
    wide[1:-1, 1:-1] = grey
    wide[0], wide[-1] = wide[1], wide[-2]
    wide[:, 0], wide[:, -1] = wide[:, 1], wide[:, -2]
    rows = wide[:-2] + wide[1:-1] + wide[2:]
    means: Grey = ((rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) // 9).astype(np.uint8)
    return means


def maximum_filter(values: Grey, size: int) -> Grey:
    """Return the maximum of the square window of this side around each pixel; pixels outside the image count as 0."""
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
