"""Store read by `MlflowClient`: the slow way, which knows every kind of store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnistflow.tracking.client import mlflow_client
from mnistflow.tracking.records import RunQuery, Store, StoredModel, StoredRun, StoredVersion, filter_of, order_of

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

_PAGE = 1000


class ClientStore(Store):
    """Reads the store that `MLFLOW_TRACKING_URI` names, whatever it is."""

    def experiment_id(self, name: str) -> str | None:
        found = mlflow_client().get_experiment_by_name(name)
        return str(found.experiment_id) if found else None

    def search_runs(self, query: RunQuery) -> list[StoredRun]:
        experiment = self.experiment_id(query.experiment)
        if experiment is None:
            return []
        found = mlflow_client().search_runs(
            [experiment], filter_of(query), max_results=query.limit, order_by=order_of(query)
        )
        return [_run(entry) for entry in found]

    def run(self, run_id: str) -> StoredRun | None:
        from mlflow.exceptions import MlflowException

        try:
            found = mlflow_client().get_run(run_id)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return _run(found) if found.info.lifecycle_stage == "active" else None

    def model(self, name: str) -> StoredModel | None:
        from mlflow.exceptions import MlflowException

        try:
            found = mlflow_client().get_registered_model(name)
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise
        return StoredModel({alias: int(number) for alias, number in found.aliases.items()}, dict(found.tags))

    def versions(self, model: str) -> list[StoredVersion]:
        found: list[StoredVersion] = []
        token = None
        while True:
            page = mlflow_client().search_model_versions(f"name = '{model}'", max_results=_PAGE, page_token=token)
            found += map(_version, page)
            token = page.token
            if not token:
                return sorted(found, key=lambda version: -version.number)

    def version(self, model: str, number: int) -> StoredVersion | None:
        from mlflow.exceptions import MlflowException

        try:
            return _version(mlflow_client().get_model_version(model, str(number)))
        except MlflowException as error:
            if error.error_code == "RESOURCE_DOES_NOT_EXIST":
                return None
            raise


def _run(run: Run) -> StoredRun:
    return StoredRun(
        run_id=run.info.run_id,
        experiment_id=str(run.info.experiment_id),
        name=run.info.run_name,
        status=run.info.status,
        started_ms=run.info.start_time,
        parameters=dict(run.data.params),
        metrics=dict(run.data.metrics),
        tags=dict(run.data.tags),
    )


def _version(entry: ModelVersion) -> StoredVersion:
    return StoredVersion(
        name=entry.name,
        number=int(entry.version),
        run_id=entry.run_id or "",
        created_ms=entry.creation_timestamp,
        tags=dict(entry.tags),
    )
