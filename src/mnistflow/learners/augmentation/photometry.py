"""Photometric augmentation: stroke width, lines, blur, contrast, background and noise on batches of TensorFlow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnistflow.learners.augmentation import streams
from mnistflow.learners.augmentation.streams import Stream

if TYPE_CHECKING:
    from mnistflow.learners.config import AugmentConfig

WHITE = 255.0
DRAWS = 8  # random numbers of each image, besides those of lines and noise
BINOMIAL = {offset: weight / 64 for offset, weight in zip(range(-3, 4), (1, 6, 15, 20, 15, 6, 1), strict=True)}


def photometric(pixels: Any, seed: Any, config: AugmentConfig) -> Any:
    """Return a batch in which stroke width, sharpness, light and noise of a share of the images change at random.

    Each strength is uniform between 0 and its largest value, so that many images change little. Neighbours in the batch
    change, from half of the outliers on, which are its first images: a batch has a random order, and a part of it takes
    less time than a mask.

    Args:
        pixels: float32 tensor `[batch, height, width]`, 0 to 255.
        seed: integer tensor `[2]`; the same seed gives the same changes.
        config: the largest values of the changes, and `photometric`, the share of the images that change.

    Returns:
        float32 tensor `[batch, height, width]`, not limited to 0 to 255.
    """
    import tensorflow as tf

    size = tf.cast(tf.shape(pixels)[0], tf.float32)
    first = tf.cast(size * min(config.outliers / 2, 1 - config.photometric), tf.int32)
    last = first + tf.cast(tf.round(size * config.photometric), tf.int32)
    changed = _changed(pixels[first:last], seed, config)
    return tf.concat([pixels[:first], changed, pixels[last:]], 0)


def _changed(pixels: Any, seed: Any, config: AugmentConfig) -> Any:
    import tensorflow as tf

    draws = tf.random.stateless_uniform([tf.shape(pixels)[0], DRAWS], streams.of(seed, Stream.PHOTOMETRY))
    stroke, blur, contrast, background, noise, *plane = (draws[:, column, None, None] for column in range(DRAWS))
    if config.stroke:
        pixels = _with_stroke_width(pixels, config.stroke * (2 * stroke - 1))
    if config.lines:
        pixels = tf.maximum(pixels, _lines(pixels, seed, config.lines))
    if config.blur:
        pixels += config.blur * blur * (_blurred(pixels) - pixels)
    if config.contrast:
        pixels *= 1 - config.contrast * contrast
    if config.background:
        light = _plane(pixels, *plane) * config.background * background
        pixels = light * WHITE + pixels * (1 - light)
    if config.noise:
        normal = tf.random.stateless_normal(tf.shape(pixels), streams.of(seed, Stream.NOISE))
        pixels += normal * (config.noise * WHITE * tf.square(noise))
    return pixels


def _with_stroke_width(pixels: Any, strength: Any) -> Any:
    """Return images between the original (0) and its dilation (1), or its erosion (-1), by a pixel on each side."""
    import tensorflow as tf

    dilated, eroded = pixels, pixels
    for axis in (1, 2):
        dilated = tf.maximum(dilated, tf.maximum(_shifted(dilated, axis, -1), _shifted(dilated, axis, 1)))
        eroded = tf.minimum(eroded, tf.minimum(_shifted(eroded, axis, -1), _shifted(eroded, axis, 1)))
    return pixels + tf.maximum(strength, 0.0) * (dilated - pixels) + tf.maximum(-strength, 0.0) * (eroded - pixels)


def _blurred(pixels: Any) -> Any:
    """Return images after a binomial filter of 7 x 7, whose standard deviation is 1.22 pixels."""
    for axis in (1, 2):
        pixels = sum(weight * _shifted(pixels, axis, offset) for offset, weight in BINOMIAL.items())
    return pixels


def _shifted(pixels: Any, axis: int, offset: int) -> Any:
    """Return images moved along an axis by some pixels, with black beyond the border.

    Slices are several times as fast as convolutions and pooling of a single channel.
    """
    import tensorflow as tf

    size = pixels.shape[axis]
    padding = [[0, 0], [0, 0], [0, 0]]
    padding[axis] = [max(offset, 0), max(-offset, 0)]
    start = [0, 0, 0]
    start[axis] = max(-offset, 0)
    extent = [-1, pixels.shape[1], pixels.shape[2]]
    extent[axis] = size - abs(offset)
    return tf.pad(tf.slice(pixels, start, extent), padding)


def _lines(pixels: Any, seed: Any, count: int) -> Any:
    """Return up to `count` straight lines across each image: float32 `[batch, height, width]`, 0 to 255."""
    import tensorflow as tf

    height, width = pixels.shape[1], pixels.shape[2]
    y, x = tf.meshgrid(tf.linspace(-1.0, 1.0, height), tf.linspace(-1.0, 1.0, width), indexing="ij")
    draws = tf.random.stateless_uniform([tf.shape(pixels)[0], count, 6], streams.of(seed, Stream.LINES))
    drawn = tf.zeros_like(pixels)
    for number in range(count):
        angle, offset, half_width, brightness, start, present = (
            draws[:, number, column, None, None] for column in range(6)
        )
        angle *= 3.14159
        across = tf.abs(x * tf.cos(angle) + y * tf.sin(angle) - (2 * offset - 1) * 0.9) * (width / 2)
        along = y * tf.cos(angle) - x * tf.sin(angle)
        ink = tf.clip_by_value(0.7 + 1.0 * half_width - across, 0.0, 1.0)
        ink *= tf.cast(along > 2 * start - 1.8, tf.float32) * tf.cast(present < 0.6, tf.float32)
        drawn = tf.maximum(drawn, ink * (0.2 + 0.8 * brightness) * WHITE)
    return drawn


def _plane(pixels: Any, vertical: Any, horizontal: Any, strength: Any) -> Any:
    """Return a brightness that rises linearly across each image: float32 `[batch, height, width]`, 0 to 1.

    Args:
        pixels: of the images.
        vertical: slope from top to bottom, as a random number from 0 to 1, float32 `[batch, 1, 1]`.
        horizontal: slope from left to right, likewise.
        strength: factor of both slopes, likewise.
    """
    import tensorflow as tf

    height, width = pixels.shape[1], pixels.shape[2]
    y, x = tf.linspace(-1.0, 1.0, height), tf.linspace(-1.0, 1.0, width)
    plane = (2 * vertical - 1) * y[None, :, None] + (2 * horizontal - 1) * x[None, None, :]
    return tf.clip_by_value(1 + strength * plane, 0.0, 2.0) / 2
