"""TensorFlow and Keras, imported without what they print on their own and without what nothing here uses."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

# Keras imports these where they are installed, for wrappers and galleries: 40 % of the time that its import takes.
OPTIONAL = ("sklearn", "matplotlib")
# TensorFlow itself turns oneDNN on only where the CPU has instructions for neural networks (AVX512-VNNI, AMX). What it
# brings on one with AVX2 alone: docs/explanation/training.md.
ONEDNN = {"TF_ENABLE_ONEDNN_OPTS": "1"}


def import_tensorflow() -> None:
    """Import TensorFlow, with oneDNN, and Keras without the notices that no setting of theirs silences."""
    for name, value in ONEDNN.items():
        os.environ.setdefault(name, value)
    with _silent_stderr(), _hidden(OPTIONAL):
        import keras  # noqa: F401
        import tensorflow  # noqa: F401


@contextmanager
def _silent_stderr() -> Iterator[None]:
    """Point file descriptor 2 to nowhere; Python's exceptions are not affected."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


@contextmanager
def _hidden(names: tuple[str, ...]) -> Iterator[None]:
    """Let imports of packages that are not imported yet fail."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]
