"""TensorFlow import: TensorFlow and Keras without their start-up notices, optional imports and retracing warnings."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Keras imports these packages, if installed, for wrappers and plots: 40 % of its import time.
OPTIONAL = ("sklearn", "matplotlib")
# TensorFlow's default enables oneDNN only on CPUs with instructions for neural networks (AVX512-VNNI, AMX). The gain on
# a CPU with AVX2 only: docs/explanation/training.md.
ONEDNN = {"TF_ENABLE_ONEDNN_OPTS": "1"}


def import_tensorflow() -> None:
    """Import TensorFlow, with oneDNN enabled, and Keras. Neither logs anything below level ERROR.

    TensorFlow warns of repeated retracing when a process builds several models: each has train, test and predict
    functions of its own, and TensorFlow counts the traces of all functions that share their source code. A search and
    the export build several models on purpose.
    """
    for name, value in ONEDNN.items():
        os.environ.setdefault(name, value)
    with _silent_stderr(), _hidden(OPTIONAL):
        import keras  # noqa: F401
        import tensorflow as tf
    tf.get_logger().setLevel(logging.ERROR)


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Redirect file descriptor 2 to the null device, for notices of native libraries. Exceptions are not affected."""
    stderr = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    try:
        yield
    finally:
        os.dup2(stderr, 2)
        os.close(stderr)
        os.close(null)


@contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Make imports of these packages fail, except of those already imported."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
