"""Geometric normalization of images inside the model: bounding boxes of the same size, or deskewing.

A network trained on normalized images makes other errors than one trained on the original images, which ensembles
benefit from, such as the committee of Ciresan, Meier and Schmidhuber (arXiv:1202.2745). Deskewing uses moments, as in
LeCun, Bottou, Bengio and Haffner (Proceedings of the IEEE, 1998, section III.A).
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

FOREGROUND = 0.2  # threshold of foreground pixels, as a share of the brightest pixel
BOX_SIDE = 5 / 7  # of the image side: 20 of 28 pixels, as in MNIST
MAX_ZOOM = 2.0
MAX_SLANT = 0.8  # columns per row


@keras.saving.register_keras_serializable("mnistflow")
class Geometry(keras.layers.Layer):  # type: ignore[misc]
    """Keras layer that normalizes images, float32 `[batch, height, width]`, to the same shape.

    A single layer in float32, because tf2onnx converts constants of free-standing operations to inputs of the graph.

    Args:
        kind: `box` scales the foreground to the same height and width, `upright` removes its slant.
        settings: arguments of `keras.layers.Layer`; dtype is always float32.
    """

    def __init__(self, kind: str, **settings: Any) -> None:
        super().__init__(**{**settings, "dtype": "float32"})
        self.kind = kind

    def call(self, images: keras.KerasTensor) -> keras.KerasTensor:
        images -= ops.min(images, axis=(1, 2), keepdims=True)
        return _boxed(images) if self.kind == "box" else _upright(images)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "kind": self.kind}


def _boxed(images: keras.KerasTensor) -> keras.KerasTensor:
    """Scale the bounding box of the foreground to the same height and width, independently."""
    foreground = ops.cast(images > FOREGROUND * ops.max(images, axis=(1, 2), keepdims=True), "float32")
    rows, columns = _box_scaling(ops.max(foreground, axis=2)), _box_scaling(ops.max(foreground, axis=1))
    return ops.matmul(ops.matmul(rows, images), ops.transpose(columns, (0, 2, 1)))


def _box_scaling(occupied: keras.KerasTensor) -> keras.KerasTensor:
    """Return matrices that scale the lines from the first to the last occupied one: float32 `[batch, n, n]`.

    Args:
        occupied: 1 for each row, or column, with foreground, else 0: float32 `[batch, n]`.
    """
    count = occupied.shape[1]
    positions = ops.arange(count, dtype="float32")
    first = count - 1 - ops.max(occupied * (count - 1 - positions), axis=1, keepdims=True)
    last = ops.max(occupied * positions, axis=1, keepdims=True)
    size = ops.maximum(last - first + 1, 1)
    zoom = ops.minimum(BOX_SIDE * count / size, MAX_ZOOM)
    return _interpolation((first + last) / 2 + (positions - (count - 1) / 2) / zoom, count)


def _upright(images: keras.KerasTensor) -> keras.KerasTensor:
    """Move the centre of mass to the centre of the image, and shift rows so that their slant is removed."""
    height, width = images.shape[1:]
    rows = ops.reshape(ops.arange(height, dtype="float32"), (1, height, 1))
    columns = ops.reshape(ops.arange(width, dtype="float32"), (1, 1, width))
    mass = ops.sum(images, axis=(1, 2), keepdims=True) + 1e-6
    row = ops.sum(images * rows, axis=(1, 2), keepdims=True) / mass
    column = ops.sum(images * columns, axis=(1, 2), keepdims=True) / mass
    covariance = ops.sum(images * (rows - row) * (columns - column), axis=(1, 2), keepdims=True)
    variance = ops.sum(images * ops.square(rows - row), axis=(1, 2), keepdims=True) + 1e-3
    slant = ops.clip(covariance / variance, -MAX_SLANT, MAX_SLANT)
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    sources = columns + (column - middle_column) + slant * (rows - row)
    deskewed = ops.sum(_interpolation(sources, width) * ops.expand_dims(images, 2), axis=-1)
    return ops.matmul(_interpolation(ops.squeeze(rows + (row - middle_row), 2), height), deskewed)


def _interpolation(positions: keras.KerasTensor, count: int) -> keras.KerasTensor:
    """Return weights of linear interpolation at positions `[...]`: float32 `[..., count]`; 0 outside of the image."""
    return ops.relu(1 - ops.abs(ops.expand_dims(positions, -1) - ops.arange(count, dtype="float32")))
