"""Artifacts of runs and versions, copied from MLflow's artifact store.

A tracking server that gives access to artifacts is asked itself, because `import mlflow` takes longer than the copies.
Folders, S3 and other stores are read by MLflow.
"""

from __future__ import annotations

from pathlib import Path

from mnistflow.errors import RegistryError
from mnistflow.tracking.rest_store import RestStore
from mnistflow.tracking.store import open_store


def of_version(name: str, number: int, file: str, folder: Path) -> Path:
    """Copy a file of a registered version into a folder, and return the copy.

    Raises:
        RegistryError: it cannot be read.
    """
    store = open_store()
    location = store.version_location(name, number) if isinstance(store, RestStore) else ""
    return _copy(store, location, f"models:/{name}/{number}", file, folder)


def of_run(run_id: str, file: str, folder: Path) -> Path:
    """Copy an artifact of a run into a folder, and return the copy.

    Raises:
        RegistryError: it cannot be read.
    """
    store = open_store()
    location = store.run_location(run_id) if isinstance(store, RestStore) else ""
    return _copy(store, location, f"runs:/{run_id}", file, folder)


def _copy(store: object, location: str, uri: str, file: str, folder: Path) -> Path:
    """Copy a file.

    Args:
        location: where the store has it, if that is known.
        uri: by which MLflow finds it.
    """
    if isinstance(store, RestStore) and store.serves(location):
        copy = folder / file
        copy.parent.mkdir(parents=True, exist_ok=True)
        store.fetch(f"{location}/{file}", copy)
        return copy
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        return Path(download_artifacts(artifact_uri=f"{uri}/{file}", dst_path=str(folder)))
    except (MlflowException, OSError) as error:
        raise RegistryError(f"{uri}/{file}: {error}", "Restore the artifact store.") from error
