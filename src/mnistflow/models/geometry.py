"""Images made alike before a network sees them, as operations of its graph.

A network that sees every digit as wide as every other, or upright, errs on other images than one that sees them as they
are: the committee of Ciresan, Meier and Schmidhuber (arXiv:1202.2745) owes its accuracy to that. The slant is undone by
moments, as by LeCun, Bottou, Bengio and Haffner (Proceedings of the IEEE, 1998, section III.A).
"""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

INK = 0.2  # of the brightest pixel: what is darker is background
FILLED = 5 / 7  # of the side: 20 pixels of 28, as in MNIST
LARGEST_ZOOM = 2.0
LARGEST_SLANT = 0.8  # columns a row


class Geometry(keras.layers.Layer):  # type: ignore[misc]
    """Changes images float32 `[batch, height, width]`.

    One layer in float32: of operations that stand alone, tf2onnx makes the constants inputs of the graph.

    Attributes:
        kind: `box` stretches what is not background to the same height and width, `upright` undoes the slant.
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
    """Stretch what is not background, in both directions by themselves, to the same size."""
    ink = ops.cast(images > INK * ops.max(images, axis=(1, 2), keepdims=True), "float32")
    rows, columns = _to_box(ops.max(ink, axis=2)), _to_box(ops.max(ink, axis=1))
    return ops.matmul(ops.matmul(rows, images), ops.transpose(columns, (0, 2, 1)))


def _to_box(inked: keras.KerasTensor) -> keras.KerasTensor:
    """Return `[batch, n, n]`, which stretches lines between the first and the last inked one of `[batch, n]`."""
    count = inked.shape[1]
    places = ops.arange(count, dtype="float32")
    first = count - 1 - ops.max(inked * (count - 1 - places), axis=1, keepdims=True)
    last = ops.max(inked * places, axis=1, keepdims=True)
    size = ops.maximum(last - first + 1, 1)
    zoom = ops.minimum(FILLED * count / size, LARGEST_ZOOM)
    return _between((first + last) / 2 + (places - (count - 1) / 2) / zoom, count)


def _upright(images: keras.KerasTensor) -> keras.KerasTensor:
    """Move the centre of mass to the middle, and each row so far that the columns' mean is the same in every row."""
    height, width = images.shape[1:]
    rows = ops.reshape(ops.arange(height, dtype="float32"), (1, height, 1))
    columns = ops.reshape(ops.arange(width, dtype="float32"), (1, 1, width))
    mass = ops.sum(images, axis=(1, 2), keepdims=True) + 1e-6
    row = ops.sum(images * rows, axis=(1, 2), keepdims=True) / mass
    column = ops.sum(images * columns, axis=(1, 2), keepdims=True) / mass
    together = ops.sum(images * (rows - row) * (columns - column), axis=(1, 2), keepdims=True)
    upwards = ops.sum(images * ops.square(rows - row), axis=(1, 2), keepdims=True) + 1e-3
    slant = ops.clip(together / upwards, -LARGEST_SLANT, LARGEST_SLANT)
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    sources = columns + (column - middle_column) + slant * (rows - row)
    straight = ops.sum(_between(sources, width) * ops.expand_dims(images, 2), axis=-1)
    return ops.matmul(_between(ops.squeeze(rows + (row - middle_row), 2), height), straight)


def _between(places: keras.KerasTensor, count: int) -> keras.KerasTensor:
    """Return the weights `[..., count]` of linear interpolation at these places; beyond the edge they are 0."""
    return ops.relu(1 - ops.abs(ops.expand_dims(places, -1) - ops.arange(count, dtype="float32")))
