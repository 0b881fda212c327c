"""Outlier exposure: training images of no class, with a uniform target distribution.

Networks trained on digits only are overconfident on other inputs. Some images of each batch are therefore replaced by
outliers, whose target is the same probability for each class (Hendrycks, Mazeika and Dietterich, arXiv:1812.04606).
They are made of the batch itself: halves of two images, two images overlaid, and scribbles.
"""

from __future__ import annotations

from typing import Any

from mnistflow.learners.augmentation import streams
from mnistflow.learners.augmentation.streams import Stream

LABEL = -1  # of an outlier, in place of a class index
GRID = (4, 7)  # nodes on each side of the coarse grids that scribbles come from
LINE_WIDTH = 0.35


def replace_with_outliers(pixels: Any, labels: Any, seed: Any, share: float) -> tuple[Any, Any]:
    """Return a batch in which a share of the images, the first ones, are outliers labelled `LABEL`.

    Args:
        pixels: float32 tensor `[batch, height, width]`, 0 to 255, in random order.
        labels: class indices, integer tensor `[batch]`.
        seed: integer tensor `[2]`; the same seed gives the same outliers.
        share: of the images, at most a half.
    """
    import tensorflow as tf

    count = tf.cast(tf.round(share * tf.cast(tf.shape(pixels)[0], tf.float32)), tf.int32)
    first, second, kept = pixels[:count], pixels[count : 2 * count], pixels[count:]
    draws = tf.random.stateless_uniform([count, 2], streams.of(seed, Stream.OUTLIERS))
    kinds = [
        _mixed_halves(first, second),
        _overlaid(first, second, draws[:, 1]),
        *(_scribble(first, streams.of(seed, Stream.SCRIBBLES, number), nodes) for number, nodes in enumerate(GRID)),
    ]
    kind = tf.cast(draws[:, 0] * len(kinds), tf.int32)
    chosen = tf.gather(tf.stack(kinds, axis=1), kind, batch_dims=1)
    return tf.concat([chosen, kept], 0), tf.concat([tf.fill([count], tf.cast(LABEL, labels.dtype)), labels[count:]], 0)


def _mixed_halves(first: Any, second: Any) -> Any:
    """Return the upper half of an image above the upper half of another, upside down."""
    import tensorflow as tf

    half = first.shape[1] // 2
    return tf.concat([first[:, :half], tf.reverse(second, [1])[:, half:]], axis=1)


def _overlaid(first: Any, second: Any, draws: Any) -> Any:
    """Return two images at once, moved apart by a quarter to a half of the width."""
    import tensorflow as tf

    width = first.shape[2]
    pads = [[0, 0], [0, 0], [width // 3, width // 3]]
    padded = [tf.pad(images, pads) for images in (first, second)]
    distance = tf.cast(width * (0.12 + 0.13 * draws), tf.int32)
    columns = tf.range(width)[None]

    def moved(images: Any, by: Any) -> Any:
        return tf.gather(images, columns + width // 3 + by[:, None], axis=2, batch_dims=1)

    return tf.maximum(moved(padded[0], distance), moved(padded[1], -distance))


def _scribble(images: Any, seed: Any, nodes: int) -> Any:
    """Return curves where a smooth random field is near 0, inside a random window: float32, shaped as the images."""
    import tensorflow as tf

    count, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
    field = tf.random.stateless_normal([count, nodes, nodes, 1], seed)
    smooth = tf.image.resize(field, [height, width], "bicubic")[..., 0]
    draws = tf.random.stateless_uniform([count, 2], seed + tf.constant([0, 1]))  # independent of the field
    ink = tf.clip_by_value(1.5 - tf.abs(smooth) / (LINE_WIDTH * (0.4 + draws[:, 0, None, None])), 0.0, 1.0)
    y, x = tf.linspace(-1.0, 1.0, height), tf.linspace(-1.0, 1.0, width)
    radius = 0.5 + 0.4 * draws[:, 1, None, None]
    inside = tf.cast((tf.abs(y)[None, :, None] < radius) & (tf.abs(x)[None, None, :] < radius), tf.float32)
    return 255.0 * ink * inside
