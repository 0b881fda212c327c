"""Client of MLflow's store."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow import MlflowClient


def mlflow_client() -> MlflowClient:
    """Return a client of the store that `MLFLOW_TRACKING_URI` names."""
    from mlflow import MlflowClient

    return MlflowClient()
