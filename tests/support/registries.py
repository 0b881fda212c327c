"""A registry that the tests of a session share: an MLflow server, and a process's way to use it from a checkout."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from configured import configured
from tracking_server import TrackingServer

from mnistflow.paths import Paths


def start_server(folder: Path) -> None:
    """Start an MLflow server whose store is in a folder, wait until it answers, and write its URL to the file `url`."""
    server = TrackingServer(folder)
    server.start()
    (folder / "url").write_text(server.url)


@contextmanager
def using(uri: str, paths: Paths) -> Iterator[Paths]:
    """Let this process use a registry in the block, from a checkout."""
    with configured(paths), pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        yield paths
