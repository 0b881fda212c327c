"""Batches: `tf.data` pipelines that feed Keras on every backend."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

if TYPE_CHECKING:
    import tensorflow as tf

# Examples per batch outside of training. With test-time augmentation, batches of 1000 take up to twice the processor
# time per image: intermediate results no longer fit into the caches.
EVAL_BATCH_SIZE = 250
PREFETCHED = 4  # batches prepared in advance


def batches(*arrays: NDArray[Any], size: int) -> tf.data.Dataset:
    """Return a pipeline of batches: slices of each array along its first axis, `size` long except the last."""
    import tensorflow as tf

    return tf.data.Dataset.from_tensor_slices(arrays).batch(size)


def threads() -> int:
    """Return the number of parallel calls for `tf.data`: one per core available to this process."""
    return len(os.sched_getaffinity(0))


def prefetched(pipeline: tf.data.Dataset) -> tf.data.Dataset:
    """Return a pipeline that prepares batches in advance, with `tf.data`'s autotuning disabled.

    At the end of each pass, `tf.data` joins the thread of its tuner, which sleeps in periods that double up to a
    minute: with TensorFlow 2.21, an epoch of 5 s on a small network took up to 10 s, one of a minute up to two.
    """
    import tensorflow as tf

    options = tf.data.Options()
    options.autotune.enabled = False
    return pipeline.prefetch(PREFETCHED).with_options(options)
