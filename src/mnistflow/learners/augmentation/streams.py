"""Independent random numbers of a batch: each use of them has a stream of its own."""

from __future__ import annotations

from enum import IntEnum
from typing import Any


class Stream(IntEnum):
    """A use of random numbers. A number that is taken is not given to another use, and none is changed.

    Otherwise two uses would draw the same numbers, or the same seed would train another model.
    """

    AFFINE = 0
    ELASTIC = 1
    PHOTOMETRY = 2
    NOISE = 3
    LINES = 4
    OUTLIERS = 5
    SCRIBBLES = 6  # the last one: each further kind of scribbles takes the next number


def of(seed: Any, stream: Stream, number: int = 0) -> Any:
    """Return the seed of a stream.

    Args:
        seed: of the batch, integer tensor `[2]`.
        stream: the use of the random numbers.
        number: of the kind of scribbles, from 0.
    """
    import tensorflow as tf

    return seed + tf.constant([stream + number, 0])
