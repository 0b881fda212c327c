"""Client of MLflow's store."""

from __future__ import annotations

import os
from functools import cache
from typing import TYPE_CHECKING

from filelock import FileLock

from mnistflow.tracking.sqlite_store import SqliteStore

if TYPE_CHECKING:
    from mlflow import MlflowClient


def mlflow_client() -> MlflowClient:
    """Return a client of the store that `MLFLOW_TRACKING_URI` names."""
    from mlflow import MlflowClient

    _create_store(os.environ.get("MLFLOW_TRACKING_URI", ""))
    return MlflowClient()


@cache
def _create_store(uri: str) -> None:
    """Create the tables of a SQLite store, once a process.

    MLflow fails when two processes create them at the same time, so they take turns.
    """
    from mlflow import MlflowClient

    path = SqliteStore.file_of(uri)
    if path and not (path.exists() and SqliteStore.can_read(path)):
        with FileLock(path.with_name(f"{path.name}.lock")):
            MlflowClient()
