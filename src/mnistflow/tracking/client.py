"""Client of MLflow's store."""

from __future__ import annotations

import os
from contextlib import nullcontext
from typing import TYPE_CHECKING

from filelock import FileLock

from mnistflow.tracking.sqlite_store import SqliteStore

if TYPE_CHECKING:
    from mlflow import MlflowClient


def mlflow_client() -> MlflowClient:
    """Return a client of the store that `MLFLOW_TRACKING_URI` names.

    The first client of a SQLite store creates its tables, which fails in MLflow when two processes do so at the same
    time. So they take turns.
    """
    from mlflow import MlflowClient

    path = SqliteStore.file_of(os.environ.get("MLFLOW_TRACKING_URI", ""))
    is_complete = path is None or (path.exists() and SqliteStore.can_read(path))
    with nullcontext() if path is None or is_complete else FileLock(path.with_name(f"{path.name}.lock")):
        return MlflowClient()
