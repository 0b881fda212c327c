"""Digits: scikit-learn's 1,797 handwritten digits in the format of MNIST; real data that needs no download."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from mnistflow.data.sources import idx

CLASSES = tuple("0123456789")

_SIDE, _BOX, _CENTRE = 28, 20, 14
_TEST_FRACTION = 0.2
_SEED = 0  # of the official split, independent of the seeds of a run


def write_official_files(folder: Path) -> tuple[Path, ...]:
    """Write the digits as four IDX files with MNIST's names, and return their paths. The bytes are always the same.

    The source is `sklearn.datasets.load_digits`: 8x8 pixels from 0 to 16 (Alpaydin and Kaynak, 1998). A fifth of the
    examples, stratified by class, is the official test split.
    """
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    source = load_digits()
    images = np.stack([to_mnist_format(image) for image in source.images])
    labels = source.target.astype(np.uint8)
    train, test = train_test_split(
        np.arange(len(labels)), test_size=_TEST_FRACTION, stratify=labels, random_state=_SEED
    )
    return tuple(
        idx.write(folder / f"{prefix}-{kind}-ubyte", array[indices])
        for prefix, indices in (("train", train), ("t10k", test))
        for kind, array in (("images-idx3", images), ("labels-idx1", labels))
    )


def to_mnist_format(digit: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Return a digit `[8, 8]` with values from 0 to 16 in the format of MNIST: uint8 `[28, 28]`.

    The foreground is scaled to fit a 20x20 box with its aspect ratio and anti-aliased, and shifted by whole pixels so
    that its centre of mass is at the centre of the image (yann.lecun.com/exdb/mnist).
    """
    foreground = np.argwhere(digit > 0)
    (top, left), (bottom, right) = foreground.min(axis=0), foreground.max(axis=0) + 1
    pixels = np.round(digit[top:bottom, left:right] * (255 / 16)).astype(np.uint8)
    scale = _BOX / max(pixels.shape)
    height, width = (max(1, round(side * scale)) for side in pixels.shape)
    scaled = np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))
    row, column = _offset(scaled.sum(axis=1)), _offset(scaled.sum(axis=0))
    image = np.zeros((_SIDE, _SIDE), np.uint8)
    image[row : row + height, column : column + width] = scaled
    return image


def _offset(profile: NDArray[np.uint64]) -> int:
    """Return the offset of a profile of pixel sums at which its centre of mass is at the centre of the image."""
    centre = np.average(np.arange(len(profile)), weights=profile)
    return min(max(round(_CENTRE - centre), 0), _SIDE - len(profile))
