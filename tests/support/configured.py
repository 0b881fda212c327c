"""Environment of a test that works in its own process: the settings of a folder, as a command would have them."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from mnistflow import environment
from mnistflow.paths import Paths


@contextmanager
def configured(paths: Paths) -> Iterator[Paths]:
    """Set the environment of the tools used for a folder in the block, whatever it was before."""
    with pytest.MonkeyPatch.context() as patch:
        for name in environment.DEFAULTS:
            patch.delenv(name, raising=False)
        environment.configure(paths)
        yield paths
        for name in environment.DEFAULTS:
            os.environ.pop(name, None)
