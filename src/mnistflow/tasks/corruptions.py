"""Image corruptions of increasing severity, after MNIST-C (Mu and Gilmer, arXiv:1906.02337).

They form two groups. Data augmentation (`train.augment`) can imitate some; the others are held out: nothing that
training applies resembles them, so they tell how a model does on what it was not prepared for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mnistflow.arrays import Array

WHITE = 255
STRIPE_PERIOD, STRIPE_WIDTH = 7, 2  # in pixels
ZIGZAG_CORNERS = 6
ZIGZAG_AMPLITUDE = 0.1  # of the side
CLOUD_EXPONENT = 1.5  # of the wavelength


@dataclass(frozen=True)
class Corruption:
    """A corruption that preserves the class of an image.

    Attributes:
        name: part of metric names.
        steps: strength at severity 1, 2, ...
        caption: format string that describes a strength.
        apply: maps images uint8 `[n, height, width]`, a strength and a random generator to images of the same shape.
        held_out: whether no augmentation resembles it.
    """

    name: str
    steps: tuple[float, ...]
    caption: str
    apply: Callable[[Array, float, np.random.Generator], Array]
    held_out: bool = False


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


def stripes(images: Array, brightness: float, generator: np.random.Generator) -> Array:
    """Draw parallel stripes of a brightness over each image, two pixels wide, seven apart, in a random direction."""
    angles, phases = generator.uniform(0, np.pi, len(images)), generator.uniform(0, STRIPE_PERIOD, len(images))
    rows, columns = np.indices(images.shape[1:])
    across = rows * np.cos(angles)[:, None, None] + columns * np.sin(angles)[:, None, None] + phases[:, None, None]
    covered = across % STRIPE_PERIOD < STRIPE_WIDTH
    return _to_uint8(np.maximum(images, covered * (brightness * WHITE)))


def dotted_lines(images: Array, count: float, generator: np.random.Generator) -> Array:
    """Draw dotted lines, with every other pixel white, from one side of each image to another."""
    drawn = images.copy()
    for image in drawn:
        for _ in range(int(count)):
            points = _polyline(generator, image.shape, corners=0)
            image[tuple(points[::2].T)] = WHITE
    return drawn


def zigzags(images: Array, count: float, generator: np.random.Generator) -> Array:
    """Draw white zigzag lines, a pixel wide, from one side of each image to another."""
    drawn = images.copy()
    for image in drawn:
        for _ in range(int(count)):
            image[tuple(_polyline(generator, image.shape, corners=ZIGZAG_CORNERS).T)] = WHITE
    return drawn


def glass(images: Array, pixels: float, generator: np.random.Generator) -> Array:
    """Take each pixel from a random place up to some pixels away, as seen through frosted glass."""
    height, width = images.shape[1:]
    offsets = generator.uniform(-pixels, pixels, (2, *images.shape)).round().astype(int)
    rows, columns = np.indices((height, width))
    numbers = np.arange(len(images))[:, None, None]
    return np.asarray(
        images[numbers, (rows + offsets[0]).clip(0, height - 1), (columns + offsets[1]).clip(0, width - 1)]
    )


def fog(images: Array, density: float, generator: np.random.Generator) -> Array:
    """Blend each image with clouds: noise of all wavelengths, whose amplitude is proportional to the wavelength."""
    height, width = images.shape[1:]
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.fftfreq(width)[None])
    amplitude = 1 / np.maximum(frequency, 1 / max(height, width)) ** CLOUD_EXPONENT
    clouds = np.fft.ifft2(amplitude * np.fft.fft2(generator.normal(size=images.shape))).real
    clouds -= clouds.min(axis=(1, 2), keepdims=True)
    clouds /= clouds.max(axis=(1, 2), keepdims=True)
    return _to_uint8(images + density * clouds * (WHITE - images))


def edges(images: Array, share: float, _: np.random.Generator) -> Array:
    """Replace a share of each image by its outlines: the difference of its dilation and its erosion."""
    from scipy.ndimage import grey_dilation, grey_erosion

    outlines = grey_dilation(images, (1, 2, 2)).astype(float) - grey_erosion(images, (1, 2, 2))
    return _to_uint8((1 - share) * images + share * outlines)


IMAGE_CORRUPTIONS = (
    Corruption("shift", (0.07, 0.14, 0.21), "{:.0%} of the side", shift),
    Corruption("rotation", (10, 20, 30), "{:g}°", rotate),
    Corruption("scale", (0.1, 0.2, 0.3), "± {:.0%}", scale),
    Corruption("noise", (0.1, 0.2, 0.4), "deviation {:g}", noise),
    Corruption("blur", (0.5, 1.0, 1.5), "{:g} pixels", blur),
    Corruption("contrast", (0.5, 0.25, 0.1), "{:.0%} left", contrast),
    Corruption("inversion", (1,), "complete", invert),
    Corruption("stripes", (0.3, 0.6, 1.0), "{:.0%} of white", stripes, held_out=True),
    Corruption("dotted_lines", (1, 2, 3), "{:g}", dotted_lines, held_out=True),
    Corruption("zigzags", (1, 2, 3), "{:g}", zigzags, held_out=True),
    Corruption("glass", (0.7, 1.2, 1.7), "{:g} pixels", glass, held_out=True),
    Corruption("fog", (0.3, 0.5, 0.7), "density {:.0%}", fog, held_out=True),
    Corruption("edges", (0.4, 0.7, 1.0), "{:.0%}", edges, held_out=True),
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


def _polyline(generator: np.random.Generator, shape: tuple[int, ...], corners: int) -> Array:
    """Return the pixels of a line between opposite sides of an image, `[m, 2]`, row first.

    Args:
        generator: draws both ends and the direction.
        shape: height and width of the image.
        corners: number of corners, alternately to both sides of the straight line.
    """
    size = max(shape)
    along = np.arange(2 * size) / (2 * size - 1)
    ends = generator.uniform(0.1, 0.9, 2)
    phase = generator.integers(2)
    turns = np.arange(corners + 2)
    amplitudes = np.where(turns % (corners + 1) == 0, 0, ZIGZAG_AMPLITUDE * (-1.0) ** (turns + phase))
    across = ends[0] + (ends[1] - ends[0]) * along + np.interp(along * (corners + 1), turns, amplitudes)
    points = np.stack([along, across] if generator.integers(2) else [across, along], axis=1)
    pixels = (points * (np.array(shape) - 1)).round().astype(int).clip(0, np.array(shape) - 1)
    return np.unique(pixels, axis=0) if corners else pixels[::2]


def _directions(angles: Array) -> Array:
    return np.stack([np.sin(angles), np.cos(angles)], axis=1)


def _signs(generator: np.random.Generator, count: int) -> Array:
    return generator.choice([-1.0, 1.0], count)


def _to_uint8(values: Array) -> Array:
    return np.asarray(values).round().clip(0, WHITE).astype(np.uint8)
