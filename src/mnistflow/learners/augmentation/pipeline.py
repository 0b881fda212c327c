"""Data augmentation of images, on batches of TensorFlow: geometric and photometric changes, cutout and outliers."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, cast

from mnistflow.learners.augmentation import outliers, streams
from mnistflow.learners.augmentation.photometry import photometric
from mnistflow.learners.augmentation.streams import Stream
from mnistflow.learners.config import AugmentConfig

Augment = Callable[..., tuple[Any, Any]]  # `augment` for a given configuration

GRID = 5  # nodes on each side of the coarse grid of elastic displacements


@lru_cache(maxsize=1)
def compiled(config: AugmentConfig) -> Augment:
    """Return `augment` with this configuration as a graph, which takes a second to trace, once for all trainings."""
    import tensorflow as tf

    return cast(Augment, tf.function(partial(augment, config=config)))


def augment(images: Any, labels: Any, seed: Any, config: AugmentConfig, strength: Any = 1.0) -> tuple[Any, Any]:
    """Return a batch in which each image is transformed at random, and its labels.

    A single bilinear resampling applies all geometric transformations: rotation, scale, shear and shift are an affine
    map, to which an elastic displacement field is added (after Simard, Steinkraus and Platt, ICDAR 2003; here drawn at
    the nodes of a coarse grid and interpolated). Pixels from outside the image are 0. The rectangle of cutout is that
    of DeVries and Taylor, arXiv:1708.04552. Outliers and photometric changes follow.

    Args:
        images: uint8 tensor `[batch, height, width]`.
        labels: class indices, integer tensor `[batch]`.
        seed: integer tensor `[2]`; the same seed gives the same transformations.
        config: the largest values of the transformations.
        strength: factor of the sizes of shift, rotation, scale, shear, elastic displacements and cutout, float32.

    Returns:
        uint8 tensor `[batch, height, width]`, and labels `[batch]`, which are `outliers.LABEL` for outliers.
    """
    import tensorflow as tf

    pixels = _transformed(images, seed, strength, config) if config.is_geometric else tf.cast(images, tf.float32)
    if config.outliers:
        pixels, labels = outliers.replace_with_outliers(pixels, labels, seed, config.outliers)
    if config.photometric:
        pixels = photometric(pixels, seed, config)
    return tf.cast(tf.clip_by_value(tf.round(pixels), 0, 255), tf.uint8), labels


def _transformed(images: Any, seed: Any, strength: Any, config: AugmentConfig) -> Any:
    """Return geometrically transformed images: float32 `[batch, height, width]`, 0 to 255."""
    import tensorflow as tf

    count, height, width = tf.shape(images)[0], images.shape[1], images.shape[2]
    draws = tf.random.stateless_uniform([count, 8], streams.of(seed, Stream.AFFINE), -1.0, 1.0)
    coordinates = _affine_coordinates(draws, strength, height, width, config)
    if config.elastic:
        coordinates += strength * _elastic_field(count, seed, height, width, config.elastic)
    centre = tf.constant([(height - 1) / 2, (width - 1) / 2])
    pixels = _sample(images, coordinates + centre)
    if config.cutout:
        pixels *= _cutout_mask(draws[:, 6:], height, width, strength * config.cutout)
    return pixels


def _affine_coordinates(draws: Any, strength: Any, height: int, width: int, config: AugmentConfig) -> Any:
    """Return source coordinates of each pixel relative to the centre: float32 `[batch, height, width, 2]`, row first.

    Args:
        draws: float32 `[batch, 8]`, uniform in `[-1, 1)`.
        strength: factor of the values of `config`, float32.
        height: of the images, in pixels.
        width: of the images, in pixels.
        config: the largest values of the transformations.
    """
    import tensorflow as tf

    sizes = draws[:, :5] * strength
    angle = sizes[:, 0] * math.radians(config.rotation)
    zoom = 1 + sizes[:, 1] * config.scale
    shear = sizes[:, 2] * config.shear
    mirror = tf.where(draws[:, 5] < 0, -1.0, 1.0) if config.flip else tf.ones_like(angle)
    cosine, sine = tf.cos(angle) / zoom, tf.sin(angle) / zoom
    rows = tf.stack([cosine, mirror * (shear * cosine - sine)], axis=-1)
    columns = tf.stack([sine, mirror * (shear * sine + cosine)], axis=-1)
    y, x = tf.meshgrid(
        tf.range(height, dtype=tf.float32) - (height - 1) / 2,
        tf.range(width, dtype=tf.float32) - (width - 1) / 2,
        indexing="ij",
    )
    coordinates = tf.einsum("hwj,nij->nhwi", tf.stack([y, x], axis=-1), tf.stack([rows, columns], axis=1))
    return coordinates + (sizes[:, 3:5] * config.shift * [height, width])[:, None, None]


def _elastic_field(count: Any, seed: Any, height: int, width: int, deviation: float) -> Any:
    """Return displacements in pixels: float32 `[batch, height, width, 2]`, row first."""
    import tensorflow as tf

    nodes = tf.random.stateless_normal([count, GRID, GRID, 2], streams.of(seed, Stream.ELASTIC))
    return tf.image.resize(nodes * [deviation * height, deviation * width], [height, width], "bicubic")


def _sample(images: Any, coordinates: Any) -> Any:
    """Return pixels at fractional coordinates by bilinear interpolation: float32 `[batch, height, width]`."""
    import tensorflow as tf

    height, width = images.shape[1], images.shape[2]
    stride = width + 2  # of images padded with zeros
    padded = tf.reshape(tf.pad(images, [[0, 0], [1, 1], [1, 1]]), [-1, (height + 2) * stride])
    coordinates = tf.clip_by_value(coordinates + 1, 0.0, [height + 0.999, width + 0.999])
    corner = tf.floor(coordinates)
    below, right = tf.unstack(coordinates - corner, axis=-1)
    index = tf.cast(corner[..., 0] * stride + corner[..., 1], tf.int32)

    def pixel(offset: int) -> Any:
        return tf.cast(tf.gather(padded, index + offset, batch_dims=1), tf.float32)

    upper = pixel(0) * (1 - right) + pixel(1) * right
    lower = pixel(stride) * (1 - right) + pixel(stride + 1) * right
    return upper * (1 - below) + lower * below


def _cutout_mask(draws: Any, height: int, width: int, side: Any) -> Any:
    """Return 0 inside a rectangle, 1 elsewhere: float32 `[batch, height, width]`.

    Args:
        draws: centres of the rectangles, float32 `[batch, 2]`, uniform in `[-1, 1)`.
        height: of the images, in pixels.
        width: of the images, in pixels.
        side: of the rectangles, as a share of the images' sides.
    """
    import tensorflow as tf

    centre = (draws + 1) / 2
    rows = tf.abs(tf.range(height, dtype=tf.float32) / height - centre[:, :1]) < side / 2
    columns = tf.abs(tf.range(width, dtype=tf.float32) / width - centre[:, 1:]) < side / 2
    return 1 - tf.cast(rows[:, :, None] & columns[:, None, :], tf.float32)
