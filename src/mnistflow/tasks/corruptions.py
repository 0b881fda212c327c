"""Image corruptions of increasing severity, after MNIST-C (Mu and Gilmer, arXiv:1906.02337)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mnistflow.arrays import Array

WHITE = 255


@dataclass(frozen=True)
class Corruption:
    """A corruption that preserves the class of an image.

    Attributes:
        name: part of metric names.
        steps: strength at severity 1, 2, ...
        caption: format string that describes a strength.
        apply: maps images uint8 `[n, height, width]`, a strength and a random generator to images of the same shape.
    """

    name: str
    steps: tuple[float, ...]
    caption: str
    apply: Callable[[Array, float, np.random.Generator], Array]


def shift(images: Array, share: float, generator: np.random.Generator) -> Array:
    """Translate each image by a share of its side in a random direction."""
    angles = generator.uniform(0, 2 * np.pi, len(images))
    distance = share * images.shape[1]
    return _transformed(images, np.eye(2)[None].repeat(len(images), 0), distance * _directions(angles))


def rotate(images: Array, degrees: float, generator: np.random.Generator) -> Array:
    """Rotate each image about its centre, clockwise or counterclockwise at random."""
    angles = np.deg2rad(degrees) * _signs(generator, len(images))
    cosine, sine = np.cos(angles), np.sin(angles)
    return _transformed(images, np.array([[cosine, -sine], [sine, cosine]]).transpose(2, 0, 1))


def scale(images: Array, share: float, generator: np.random.Generator) -> Array:
    """Enlarge or shrink each image by a share of its size, at random."""
    factors = 1 + share * _signs(generator, len(images))
    return _transformed(images, np.eye(2) / factors[:, None, None])


def noise(images: Array, deviation: float, generator: np.random.Generator) -> Array:
    """Add Gaussian noise with a standard deviation given as a share of the range of pixels."""
    return _to_uint8(images + generator.normal(0, deviation * WHITE, images.shape))


def blur(images: Array, pixels: float, _: np.random.Generator) -> Array:
    """Apply a Gaussian blur with a standard deviation given in pixels."""
    from scipy.ndimage import gaussian_filter

    return _to_uint8(gaussian_filter(images.astype(np.float32), (0, pixels, pixels)))


def contrast(images: Array, share: float, _: np.random.Generator) -> Array:
    """Reduce the contrast to a share, by scaling the differences from each image's mean."""
    mean = images.mean(axis=(1, 2), keepdims=True)
    return _to_uint8(mean + share * (images - mean))


def invert(images: Array, _strength: float, _: np.random.Generator) -> Array:
    """Invert black and white."""
    return np.asarray(WHITE - images)


IMAGE_CORRUPTIONS = (
    Corruption("shift", (0.07, 0.14, 0.21), "{:.0%} of the side", shift),
    Corruption("rotation", (10, 20, 30), "{:g}°", rotate),
    Corruption("scale", (0.1, 0.2, 0.3), "± {:.0%}", scale),
    Corruption("noise", (0.1, 0.2, 0.4), "deviation {:g}", noise),
    Corruption("blur", (0.5, 1.0, 1.5), "{:g} pixels", blur),
    Corruption("contrast", (0.5, 0.25, 0.1), "{:.0%} left", contrast),
    Corruption("inversion", (1,), "complete", invert),
)


def _transformed(images: Array, matrices: Array, offsets: Array | None = None) -> Array:
    """Sample each image at `matrix @ (position - centre) + centre + offset`: bilinear, with edge pixels repeated.

    Args:
        images: uint8 `[n, height, width]`.
        matrices: `[n, 2, 2]` or `[2, 2]`, row first.
        offsets: in pixels, `[n, 2]`; None means 0.
    """
    from scipy.ndimage import affine_transform

    centre = (np.array(images.shape[1:]) - 1) / 2
    shifts = centre - matrices @ centre + (0 if offsets is None else offsets)
    pairs = zip(images, matrices, shifts, strict=True)
    return np.stack([affine_transform(*triple, order=1, mode="nearest") for triple in pairs])


def _directions(angles: Array) -> Array:
    return np.stack([np.sin(angles), np.cos(angles)], axis=1)


def _signs(generator: np.random.Generator, count: int) -> Array:
    return generator.choice([-1.0, 1.0], count)


def _to_uint8(values: Array) -> Array:
    return np.asarray(values).round().clip(0, WHITE).astype(np.uint8)
