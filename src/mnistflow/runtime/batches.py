"""Batches as TensorFlow feeds them to Keras, whatever Keras computes with."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    import tensorflow as tf

# Rows that are judged at a time. Of 1000, an image takes up to twice the processor time where its answers for several
# views are averaged: what is computed on the way no longer fits into the caches.
JUDGED = 250
AHEAD = 4  # batches that are ready before they are asked for


def batches(*arrays: NDArray[Any], size: int) -> tf.data.Dataset:
    """Return a pipeline of so many rows of each array at a time, the last batch with what is left."""
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(arrays).batch(size)


def threads() -> int:
    """Return how many batches may be made at once: one on each core that this process may use."""
    return len(os.sched_getaffinity(0))


def prefetched(pipeline: tf.data.Dataset) -> tf.data.Dataset:
    """Let a pipeline run a little ahead of what consumes it, without tf.data's tuner.

    The tuner's thread is waited for when the pipeline ends, and it sleeps in periods that double up to a minute:
    with TensorFlow 2.21, an epoch of 5 s on a small network took up to 10, one of a minute up to two.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return pipeline.prefetch(AHEAD).with_options(options)
