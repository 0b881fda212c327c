"""Keras backend: TensorFlow, JAX or PyTorch, selected before Keras is imported.

TensorFlow is always installed, because it also makes the batches and exports the trained models.
"""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from typing import Literal

from mnistflow.errors import ConfigError
from mnistflow.runtime.tensorflow_import import import_tensorflow

Backend = Literal["tensorflow", "jax", "torch"]
DEFAULT: Backend = "tensorflow"
VARIABLE = "KERAS_BACKEND"


def use(backend: Backend) -> None:
    """Select the backend of this process and its child processes.

    Raises:
        ConfigError: the backend is not installed, or Keras was already imported with another backend.
    """
    require(backend)
    os.environ[VARIABLE] = backend
    if "keras" in sys.modules and current() != backend:
        raise ConfigError(
            f"train.backend: {backend} was requested, but Keras already runs on {current()} in this process",
            "Use one process per backend.",
        )


def require(backend: Backend) -> None:
    """Check that a backend is installed.

    Raises:
        ConfigError: it is not installed.
    """
    if find_spec(backend) is None:
        raise ConfigError(
            f"train.backend: {backend} is not installed",
            f"Install it with `.venv/bin/uv pip install --python .venv/bin/python --require-hashes "
            f"-r requirements-{backend}.lock`, or set train.backend to {DEFAULT}.",
        )


def current() -> str:
    """Return the name of the backend that Keras uses in this process."""
    import keras

    return str(keras.backend.backend())


def jit_compile() -> bool:
    """Return whether to compile with XLA: needed by JAX, but slower on a CPU than TensorFlow's own kernels."""
    return current() == "jax"


def clear() -> None:
    """Release the global state of Keras, which refers to all models built in this process."""
    if "keras" in sys.modules:
        import keras

        keras.backend.clear_session()


def load_tensorflow(threads: int) -> None:
    """Import TensorFlow and set its intra-op threads. Must be called before its first operation.

    Args:
        threads: of TensorFlow, and of PyTorch if it is the backend; 0 means one per core.
    """
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    import_tensorflow()
    import tensorflow as tf

    if threads != tf.config.threading.get_intra_op_parallelism_threads():
        tf.config.threading.set_intra_op_parallelism_threads(threads)
