"""Normalization of contrast, background and polarity inside the model, as the "auto levels" of picture editors.

A threshold separates background and foreground of each image: the mean of both means, iterated (Ridler and Calvard,
IEEE Transactions on Systems, Man, and Cybernetics, 1978). The background becomes 0 and the foreground 1.
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

ITERATIONS = 3
MIN_CONTRAST = 0.04  # between the means of foreground and background; noise below it is not amplified further
BRIGHTEST = 1.2  # of the result: pixels brighter than the mean of the foreground


@keras.saving.register_keras_serializable("mnistflow")
class Levels(keras.layers.Layer):  # type: ignore[misc]
    """Keras layer that gives images, float32 `[batch, height, width]` in 0 to 1, a dark background and full contrast.

    The background is what most pixels of the border belong to, dark or bright. A single layer in float32, because
    tf2onnx converts constants of free-standing operations to inputs of the graph.

    Args:
        settings: arguments of `keras.layers.Layer`; dtype is always float32.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**{**settings, "dtype": "float32"})

    def call(self, images: keras.KerasTensor) -> keras.KerasTensor:
        dark = ops.min(images, axis=(1, 2), keepdims=True)
        bright = ops.max(images, axis=(1, 2), keepdims=True)
        for _ in range(ITERATIONS):
            dark, bright = _means(images, (dark + bright) / 2)
        is_bright = ops.cast(images > (dark + bright) / 2, "float32")
        on_bright_paper = _border_mean(is_bright) > 0.5
        background = ops.where(on_bright_paper, bright, dark)
        contrast = ops.where(on_bright_paper, dark, bright) - background
        limited = ops.where(on_bright_paper, -1.0, 1.0) * ops.maximum(ops.abs(contrast), MIN_CONTRAST)
        return ops.clip((images - background) / limited, 0.0, BRIGHTEST)


def _means(images: keras.KerasTensor, threshold: keras.KerasTensor) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Return the mean pixel up to and above a threshold: each float32 `[batch, 1, 1]`."""
    above = ops.cast(images > threshold, "float32")
    count = ops.sum(above, axis=(1, 2), keepdims=True)
    total = ops.sum(images, axis=(1, 2), keepdims=True)
    total_above = ops.sum(images * above, axis=(1, 2), keepdims=True)
    pixels = float(images.shape[1] * images.shape[2])
    bright = total_above / ops.maximum(count, 1.0)
    dark = (total - total_above) / ops.maximum(pixels - count, 1.0)
    return dark, ops.where(count > 0, bright, dark)


def _border_mean(values: keras.KerasTensor) -> keras.KerasTensor:
    """Return the mean over the pixels of the border, one pixel wide: float32 `[batch, 1, 1]`."""
    height, width = values.shape[1:]
    inner = ops.sum(values[:, 1:-1, 1:-1], axis=(1, 2), keepdims=True)
    count = 2 * (height + width) - 4
    return (ops.sum(values, axis=(1, 2), keepdims=True) - inner) / count
