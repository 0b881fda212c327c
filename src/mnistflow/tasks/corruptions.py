"""What the world does to an image, in steps of severity, after MNIST-C (Mu and Gilmer, arXiv:1906.02337)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mnistflow.arrays import Array

WHITE = 255


@dataclass(frozen=True)
class Corruption:
    """A change that leaves the class as it is.

    Attributes:
        steps: its strength at severity 1, 2, ...
        caption: what a strength means, for people: a format of it.
        apply: images uint8 `[n, height, width]`, strength and generator to corrupted images of the same shape.
    """

    name: str
    steps: tuple[float, ...]
    caption: str
    apply: Callable[[Array, float, np.random.Generator], Array]


def shift(images: Array, share: float, generator: np.random.Generator) -> Array:
    """Move each image by a share of its side in a direction of its own."""
    angles = generator.uniform(0, 2 * np.pi, len(images))
    distance = share * images.shape[1]
    return _transformed(images, np.eye(2)[None].repeat(len(images), 0), distance * _directions(angles))


def rotate(images: Array, degrees: float, generator: np.random.Generator) -> Array:
    """Turn each image about its centre, to the left or to the right."""
    angles = np.deg2rad(degrees) * _signs(generator, len(images))
    cosine, sine = np.cos(angles), np.sin(angles)
    return _transformed(images, np.array([[cosine, -sine], [sine, cosine]]).transpose(2, 0, 1))


def scale(images: Array, share: float, generator: np.random.Generator) -> Array:
    """Make each image larger or smaller by a share of its size."""
    factors = 1 + share * _signs(generator, len(images))
    return _transformed(images, np.eye(2) / factors[:, None, None])


def noise(images: Array, deviation: float, generator: np.random.Generator) -> Array:
    """Add normal noise, its standard deviation a share of the range from black to white."""
    return _to_uint8(images + generator.normal(0, deviation * WHITE, images.shape))


def blur(images: Array, pixels: float, _: np.random.Generator) -> Array:
    """Blur with a normal kernel of this standard deviation."""
    from scipy.ndimage import gaussian_filter

    return _to_uint8(gaussian_filter(images.astype(np.float32), (0, pixels, pixels)))


def contrast(images: Array, left: float, _: np.random.Generator) -> Array:
    """Bring every pixel towards its image's mean, so that this share of the contrast is left."""
    mean = images.mean(axis=(1, 2), keepdims=True)
    return _to_uint8(mean + left * (images - mean))


def invert(images: Array, _strength: float, _: np.random.Generator) -> Array:
    """Swap black and white."""
    return np.asarray(WHITE - images)


OF_IMAGES = (
    Corruption("shift", (0.07, 0.14, 0.21), "{:.0%} of the side", shift),
    Corruption("rotation", (10, 20, 30), "{:g}°", rotate),
    Corruption("scale", (0.1, 0.2, 0.3), "± {:.0%}", scale),
    Corruption("noise", (0.1, 0.2, 0.4), "deviation {:g}", noise),
    Corruption("blur", (0.5, 1.0, 1.5), "{:g} pixels", blur),
    Corruption("contrast", (0.5, 0.25, 0.1), "{:.0%} left", contrast),
    Corruption("inversion", (1,), "complete", invert),
)


def _transformed(images: Array, matrices: Array, offsets: Array | None = None) -> Array:
    """Sample each image, linearly, at `matrix @ (place - centre) + centre + offset`; beyond its edge lies its edge."""
    from scipy.ndimage import affine_transform

    centre = (np.array(images.shape[1:]) - 1) / 2
    places = centre - matrices @ centre + (0 if offsets is None else offsets)
    pairs = zip(images, matrices, places, strict=True)
    return np.stack([affine_transform(*triple, order=1, mode="nearest") for triple in pairs])


def _directions(angles: Array) -> Array:
    return np.stack([np.sin(angles), np.cos(angles)], axis=1)


def _signs(generator: np.random.Generator, count: int) -> Array:
    return generator.choice([-1.0, 1.0], count)


def _to_uint8(values: Array) -> Array:
    return np.asarray(values).round().clip(0, WHITE).astype(np.uint8)
