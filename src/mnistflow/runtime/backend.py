"""The library that Keras computes with: TensorFlow, or another one that is chosen before Keras is imported.

TensorFlow is there in any case: it feeds the batches, and exports what was trained.
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
    """Let Keras compute with this library in this process, and in those that it starts.

    Raises:
        ConfigError: it is not installed, or Keras was imported with another one.
    """
    require(backend)
    os.environ[VARIABLE] = backend
    if "keras" in sys.modules and current() != backend:
        raise ConfigError(
            f"train.backend: {backend} is asked for, but Keras runs on {current()} in this process already",
            "Start a process of its own for each backend.",
        )


def require(backend: Backend) -> None:
    """Check that a backend is installed.

    Raises:
        ConfigError: it is not.
    """
    if find_spec(backend) is None:
        raise ConfigError(
            f"train.backend: {backend} is not installed",
            f"Install it with `.venv/bin/uv pip install --python .venv/bin/python --require-hashes "
            f"-r requirements-{backend}.lock`, or set train.backend to {DEFAULT}.",
        )


def current() -> str:
    """Return what Keras computes with in this process."""
    import keras

    return str(keras.backend.backend())


def jit_compile() -> bool:
    """Whether to compile with XLA: JAX is nothing without it; TensorFlow's own kernels are faster on a CPU."""
    return current() == "jax"


def clear() -> None:
    """Let go of the models that Keras, if it is loaded, remembers in this process."""
    if "keras" in sys.modules:
        import keras

        keras.backend.clear_session()


def load_tensorflow(threads: int) -> None:
    """Import TensorFlow and give its operators so many threads (0 = one a core); once, before its first use.

    PyTorch, if Keras will run on it, gets as many.
    """
    if threads:
        os.environ["OMP_NUM_THREADS"] = str(threads)
    import_tensorflow()
    import tensorflow as tf

    if threads != tf.config.threading.get_intra_op_parallelism_threads():
        tf.config.threading.set_intra_op_parallelism_threads(threads)
