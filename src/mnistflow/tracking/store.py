"""Store of runs and registered versions, read without importing MLflow where that is possible.

`import mlflow` takes seconds of processor time, several times as long as the queries of a command that only reads.
`open_store` chooses the way by `MLFLOW_TRACKING_URI`: SQLite's file directly, a tracking server by MLflow's REST API,
anything else (PostgreSQL, MySQL, plug-ins, other revisions of the schema) by `MlflowClient`. All give the same records.
"""

from __future__ import annotations

import os

from mnistflow.tracking.records import Store
from mnistflow.tracking.sqlite_store import SqliteStore

# With one of these, MLflow reads from elsewhere or authenticates in a way that only its own client knows.
_CLIENT_ONLY = (
    "MLFLOW_REGISTRY_URI",
    "MLFLOW_WORKSPACE",
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_TRACKING_AWS_SIGV4",
)


def open_store() -> Store:
    """Return the cheapest reader of the store that `MLFLOW_TRACKING_URI` names."""
    uri = os.environ.get("MLFLOW_TRACKING_URI", "")
    if not any(os.environ.get(name) for name in _CLIENT_ONLY):
        path = SqliteStore.file_of(uri)
        if path and SqliteStore.can_read(path):
            return SqliteStore(path)
        if uri.startswith(("http://", "https://")):
            from mnistflow.tracking.rest_store import RestStore

            return RestStore(uri)
    from mnistflow.tracking.client_store import ClientStore

    return ClientStore()
