"""TensorFlow's messages on the terminal."""

import os
import subprocess
import sys

import pytest

from mnistflow import environment

pytestmark = pytest.mark.slow

SEVERAL_MODELS = """
import numpy as np
from mnistflow import logs
from mnistflow.runtime.batches import batches
from mnistflow.runtime.tensorflow_import import import_tensorflow

logs.log_to_terminal()
import_tensorflow()
import keras

for _ in range(8):
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
    model.predict(batches(np.zeros((8, 4), np.float32), size=4), verbose=0)
"""
PROVOKED = "import tensorflow as tf; tf.get_logger().setLevel('WARNING')"


def run(script: str) -> str:
    settings = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": environment.DEFAULTS["TF_CPP_MIN_LOG_LEVEL"]}
    done = subprocess.run([sys.executable, "-c", script], env=settings, capture_output=True, text=True, check=True)
    return done.stderr


def test_several_models_in_a_process_print_nothing() -> None:
    assert run(SEVERAL_MODELS) == ""


@pytest.mark.long
def test_the_same_models_would_make_tensorflow_warn_of_retracing() -> None:
    """The check above means something only as long as this many models do provoke the warning."""
    provoking = SEVERAL_MODELS.replace("import keras\n", f"import keras\n{PROVOKED}\n")
    assert "triggered tf.function retracing" in run(provoking)
