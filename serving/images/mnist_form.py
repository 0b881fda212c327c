"""Normalization of a digit to MNIST's format: 28x28 grey pixels, bright ink on black.

The procedure is MNIST's (http://yann.lecun.com/exdb/mnist/): the ink is scaled with antialiasing to fit a 20x20 box,
and its centre of mass is placed in the middle of the 28x28 field.
"""

import numpy as np
import numpy.typing as npt
from PIL import Image

from serving.images import stroke_width
from serving.images.components import border, bounding_slices
from serving.images.ink import Grey

SIDE = 28
BOX = 20
# Darker pixels than this are the black of an image in MNIST's format.
NOISE = 24
# Strokes are measured and normalized at this multiple of the final size; there, the median width of MNIST's strokes is
# 10.
FINE_SCALE = 4
MEDIAN_STROKE = 10
# Middle of the field: the centres of mass of MNIST's images are within half a pixel of (14, 14), with indices from 0.
MIDDLE = 14


def is_mnist_form(grey: Grey) -> bool:
    """Return whether this has the size, box and centre of an MNIST image, so that it needs no preprocessing."""
    if grey.shape != (SIDE, SIDE) or np.median(border(grey)) > 0 or grey.max() <= NOISE:
        return False
    rows, columns = bounding_slices(grey > NOISE)
    is_box = abs(max(rows.stop - rows.start, columns.stop - columns.start) - BOX) <= 2
    return is_box and all(abs(centre - MIDDLE) < 0.75 for centre in _centre_of_mass(grey))


def to_mnist_form(ink: Grey) -> Grey:
    """Return an image of ink, cropped to it, in MNIST's format: uint8 [28, 28]."""
    # Bicubic is precise enough for a size that hardly changes, and takes half the time.
    fine = _scaled_to(ink, BOX * FINE_SCALE, Image.Resampling.BICUBIC)
    strokes = stroke_width.normalized(fine, MEDIAN_STROKE)
    return _centred(_full_range(_scaled_to(strokes, BOX, Image.Resampling.LANCZOS)))


def _scaled_to(ink: Grey, box: int, resampling: Image.Resampling) -> Grey:
    scale = box / max(ink.shape)
    height, width = (max(1, round(size * scale)) for size in ink.shape)
    return np.asarray(Image.fromarray(ink).resize((width, height), resampling))


def _full_range(values: npt.NDArray[np.generic]) -> Grey:
    floats = values.astype(np.float32)
    stretched: Grey = np.rint(floats * (255 / max(floats.max(), 1))).astype(np.uint8)
    return stretched


def _centre_of_mass(grey: Grey) -> tuple[float, float]:
    weights = grey.astype(np.float64)
    total = max(float(weights.sum()), 1)
    rows, columns = (weights.sum(axis=1 - axis) @ np.arange(size) for axis, size in enumerate(grey.shape))
    return float(rows) / total, float(columns) / total


def _centred(digit: Grey) -> Grey:
    field = np.zeros((SIDE, SIDE), np.uint8)
    top, left = (
        min(max(round(MIDDLE - centre), 0), SIDE - size)
        for centre, size in zip(_centre_of_mass(digit), digit.shape, strict=True)
    )
    field[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return field
