"""Outliers: images that show no digit, on which a classifier should be in doubt. Training never sees any of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnistflow.arrays import Array

if TYPE_CHECKING:
    from PIL import Image

COUNT = 500  # of each kind
SEED = 0
WHITE = 255
# Letters that nobody takes for a digit; O, I, S, Z, B and others can be taken for one.
LETTERS = "ACEFHJKLMNPRTUVWXYadefhkmnprtuwx"
FONTS = ("DejaVuSans", "DejaVuSans-BoldOblique", "DejaVuSerif", "DejaVuSansMono", "STIXGeneral", "cmr10", "cmmi10")
DRAWN_SIDE = 80  # of a letter, before it is scaled
BOX_SHARE = 5 / 7  # of the side of an image, as of MNIST's digits
MAX_ROTATION = 12  # degrees
MAX_SHEAR = 0.2


def kinds(shape: tuple[int, ...]) -> Mapping[str, Array]:
    """Return outliers by their kind, each uint8 `[n, height, width]`: letters, noise and clouds; always the same.

    Args:
        shape: height and width.
    """
    generator = np.random.default_rng(SEED)
    return {
        "letters": np.stack(list(_letters(shape, generator))),
        "noise": generator.integers(0, WHITE + 1, (COUNT, *shape), dtype=np.uint8),
        "clouds": _clouds(shape, generator),
    }


def _letters(shape: tuple[int, ...], generator: np.random.Generator) -> Iterator[Array]:
    """Yield letters of Matplotlib's fonts, slanted and turned, with the size and position of MNIST's digits."""
    import matplotlib
    from PIL import Image, ImageDraw, ImageFont

    folder = Path(matplotlib.get_data_path()) / "fonts/ttf"
    fonts = [ImageFont.truetype(str(folder / f"{name}.ttf"), DRAWN_SIDE) for name in FONTS]
    middle = 1.5 * DRAWN_SIDE
    for number in range(COUNT):
        letter, font = LETTERS[number % len(LETTERS)], fonts[generator.integers(len(fonts))]
        drawn = Image.new("L", (3 * DRAWN_SIDE,) * 2)
        ImageDraw.Draw(drawn).text((DRAWN_SIDE, DRAWN_SIDE), letter, WHITE, font)
        shear, angle = generator.uniform(-1, 1, 2) * (MAX_SHEAR, MAX_ROTATION)
        slant = (1, shear, -shear * middle, 0, 1, 0)
        slanted = drawn.transform(drawn.size, Image.Transform.AFFINE, slant, Image.Resampling.BILINEAR)
        turned = slanted.rotate(angle, Image.Resampling.BILINEAR)
        yield _framed(turned.crop(turned.getbbox()), shape)


def _framed(ink: Image.Image, shape: tuple[int, ...]) -> Array:
    """Scale ink to the box of a digit, in the middle of an image."""
    from PIL.Image import Resampling

    scale = BOX_SHARE * min(shape) / max(ink.size)
    width, height = (max(1, round(scale * side)) for side in ink.size)
    top, left = (shape[0] - height) // 2, (shape[1] - width) // 2
    framed: Array = np.zeros(shape, np.uint8)
    framed[top : top + height, left : left + width] = ink.resize((width, height), Resampling.LANCZOS)
    return framed


def _clouds(shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Return smooth blobs: noise without its short wavelengths."""
    from scipy.ndimage import gaussian_filter

    smooth = gaussian_filter(generator.normal(size=(COUNT, *shape)), (0, 3, 3))
    lowest, highest = (limit(axis=(1, 2), keepdims=True) for limit in (smooth.min, smooth.max))
    return np.asarray((smooth - lowest) / (highest - lowest) * WHITE).astype(np.uint8)
