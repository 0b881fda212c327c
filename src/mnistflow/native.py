"""What native libraries print on their own: kept off the terminal."""

import os
from collections.abc import Iterator
from contextlib import contextmanager


def import_tensorflow() -> None:
    """Import TensorFlow without the notices about CUDA and oneDNN that no setting of its own silences."""
    with _silent_stderr():
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
