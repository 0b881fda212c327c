"""Normalization of contrast, background and polarity inside the model, as the "auto levels" of picture editors.

A threshold separates background and foreground of each image: the mean of both means, iterated (Ridler and Calvard,
IEEE Transactions on Systems, Man, and Cybernetics, 1978). The background becomes 0 and the foreground 1.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

ITERATIONS = 3
MIN_CONTRAST = 0.04  # between the means of foreground and background; noise below it is not amplified further
BRIGHTEST = 1.2  # of the result: pixels brighter than the mean of the foreground


@keras.saving.register_keras_serializable("mnistflow")
class Levels(keras.layers.Layer):  # type: ignore[misc]
    """Keras layer that gives images, float32 `[batch, height, width]` in 0 to 1, a dark background and full contrast.

    The background is what most pixels of the border belong to, dark or bright. A single layer in float32, because
    tf2onnx converts constants of free-standing operations to inputs of the graph. Computed with few operations on
    flattened images: for a single image, onnxruntime spends most of its time between operations.

    Args:
        settings: arguments of `keras.layers.Layer`; dtype is always float32.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "dtype": "float32"})

    def call(self, images: keras.KerasTensor) -> keras.KerasTensor:
        height, width = images.shape[1:]
        pixels = ops.reshape(images, (-1, height * width))
        threshold = (_reduced(ops.min, pixels) + _reduced(ops.max, pixels)) * 0.5
        for _ in range(ITERATIONS):
            dark, bright = _means(pixels, threshold)
            threshold = (dark + bright) * 0.5
        border = _border(height, width)
        bright_on_border = ops.matmul(_above(pixels, threshold), border)
        on_bright_paper = ops.cast(bright_on_border > border.sum() / 2, "float32")
        sign = 1 - 2 * on_bright_paper
        half = threshold - dark  # of the contrast
        background = threshold - sign * half
        limited = sign * ops.maximum(2 * half, MIN_CONTRAST)
        levelled = ops.clip((pixels - background) / limited, 0.0, BRIGHTEST)
        return ops.reshape(levelled, (-1, height, width))


def _reduced(reduction: Any, pixels: keras.KerasTensor) -> keras.KerasTensor:
    """Return a reduction over the pixels of each image: float32 `[batch, 1]`."""
    return reduction(pixels, axis=1, keepdims=True)


def _above(pixels: keras.KerasTensor, threshold: keras.KerasTensor) -> keras.KerasTensor:
    """Return 1 for each pixel above the threshold of its image, else 0: float32 `[batch, pixels]`."""
    return ops.cast(pixels > threshold, "float32")


def _means(pixels: keras.KerasTensor, threshold: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Return the mean pixel up to and above a threshold: each float32 `[batch, 1]`; 0 without such a pixel.

    No pixel is above the threshold of an image of a single colour. It becomes black, whatever the other mean.
    """
    above = _above(pixels, threshold)
    count, total = _reduced(ops.sum, above), _reduced(ops.sum, pixels)
    total_above = _reduced(ops.sum, pixels * above)
    dark = (total - total_above) / ops.maximum(pixels.shape[1] - count, 1.0)
    return dark, total_above / ops.maximum(count, 1.0)


def _border(height: int, width: int) -> NDArray[np.float32]:
    """Return 1 for the pixels of the border, one pixel wide, else 0: float32 `[height * width, 1]`."""
    border = np.ones((height, width), np.float32)
    border[1:-1, 1:-1] = 0
    return border.reshape(-1, 1)
