"""Image statistics: a few numbers that describe how an image was written and taken, whatever it shows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mnistflow.arrays import Array

NAMES = ("background", "contrast", "ink", "stroke_width", "slant", "centre_x", "centre_y")
EXTREME = 0.98  # quantile that stands for the brightest or darkest pixel, as noise has brighter and darker ones
TINY = 1e-6

Statistics = NDArray[np.float32]


def of_images(images: Array) -> Statistics:
    """Return the statistics of images, float32 `[n, len(NAMES)]`.

    `background` is the median of the border, as a share of white; `contrast` the difference of the ink to it, negative
    for dark ink; `ink` the share of the area; `stroke_width` in pixels: twice the area of the ink over its outline;
    `slant` in radians; `centre_x` and `centre_y` of the ink, as a share of the side from the middle of the image.

    Args:
        images: uint8 `[n, height, width]`, or `[n, height, width, channels]`, of which the mean is taken.
    """
    light = images.astype(np.float32) / 255
    if light.ndim == 4:
        light = light.mean(axis=-1)
    background, contrast = _levels(light)
    scale = np.where(np.abs(contrast) < TINY, 1, contrast)
    ink = np.clip((light - background[:, None, None]) / scale[:, None, None], 0, 1)
    height, width = ink.shape[1:]
    area = ink.sum(axis=(1, 2))
    mass = np.maximum(area, TINY)
    rows, columns = np.indices((height, width), dtype=np.float32)
    centre_y, centre_x = ((ink * place).sum(axis=(1, 2)) / mass for place in (rows, columns))
    down = rows[None] - centre_y[:, None, None]
    across = columns[None] - centre_x[:, None, None]
    slant = np.arctan2((ink * down * across).sum(axis=(1, 2)), (ink * down * down).sum(axis=(1, 2)))
    columns_of_result = (
        background,
        contrast,
        area / (height * width),
        2 * area / np.maximum(_outline(ink), TINY),
        slant,
        np.where(area > TINY, centre_x / max(width - 1, 1) - 0.5, 0),
        np.where(area > TINY, centre_y / max(height - 1, 1) - 0.5, 0),
    )
    return np.stack(columns_of_result, axis=1).astype(np.float32)


def _levels(light: Array) -> tuple[Array, Array]:
    """Return the level of the background, and the signed difference of the ink to it, both `[n]`."""
    border = np.concatenate([light[:, 0], light[:, -1], light[:, 1:-1, 0], light[:, 1:-1, -1]], axis=1)
    background = np.median(border, axis=1)
    dark, bright = np.quantile(light.reshape(len(light), -1), (1 - EXTREME, EXTREME), axis=1)
    is_bright = bright - background >= background - dark
    return background, np.where(is_bright, bright, dark) - background


def _outline(ink: Array) -> Array:
    """Return the length of the outline of the ink in pixels, `[n]`: the sum of the lengths of its gradients."""
    padded = np.pad(ink, ((0, 0), (0, 1), (0, 1)))
    down, across = np.diff(padded, axis=1)[:, :, :-1], np.diff(padded, axis=2)[:, :-1]
    return np.asarray(np.hypot(down, across).sum(axis=(1, 2)))
