"""Registration of a trained model: its files go to MLflow's artifact store, and come back from there."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnistflow.arrays import Array
from mnistflow.errors import RegistryError
from mnistflow.registry import versions
from mnistflow.registry.manifest import Manifest, Tensor
from mnistflow.registry.versions import TAG, Version
from mnistflow.runtime import onnx_session
from mnistflow.tracking import runs
from mnistflow.tracking.client import mlflow_client

PROBE = "probe.npz"  # artifact of the run
PROBE_ROWS = 16


@dataclass(frozen=True)
class RegisteredFiles:
    """Local copies of the files of a version.

    Attributes:
        model: the ONNX file.
        probe: a few inputs, and the outputs that were recorded for them.
    """

    model: Path
    probe: Path


def register(run: runs.Run, onnx_file: Path, example: Array, manifest: Manifest) -> Version:
    """Log the ONNX file as an MLflow model with signature and input example, and register it as a new version.

    Args:
        run: the run that has trained it.
        example: a few inputs `[n, *input_shape]`.
        manifest: facts about the model; kept as a tag of the version.
    """
    import mlflow
    import onnx

    signature = mlflow.models.ModelSignature(inputs=_schema(manifest.inputs), outputs=_schema(manifest.outputs))
    _log_probe(run, onnx_file, example)
    with mlflow.start_run(run_id=run.run_id, log_system_metrics=False):
        logged = mlflow.onnx.log_model(
            onnx.load(onnx_file),
            name="model",
            signature=signature,
            input_example={manifest.inputs[0].name: example},
            save_as_external_data=False,
            onnx_execution_providers=["CPUExecutionProvider"],
            pip_requirements=[
                f"{package}=={_installed(package)}" for package in ("mlflow", "onnx", "onnxruntime", "numpy")
            ],
        )
        client = mlflow_client()
        _create_model(manifest.name)
        version = client.create_model_version(
            manifest.name,
            logged.model_uri,
            run.run_id,
            tags={TAG + "model": json.dumps(manifest.to_json())},
            model_id=logged.model_id,
        )
    return versions.find(manifest.name, int(version.version))


def download(version: Version, folder: Path) -> RegisteredFiles:
    """Copy the files of a version into an existing folder.

    Raises:
        RegistryError: the artifact store does not have them.
    """
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    model_uri = mlflow_client().get_model_version_download_uri(version.name, str(version.number))
    try:
        model = Path(download_artifacts(artifact_uri=model_uri, dst_path=str(folder)))
        probe = Path(download_artifacts(run_id=version.run_id, artifact_path=PROBE, dst_path=str(folder)))
    except (MlflowException, OSError) as error:
        raise RegistryError(
            f"the files of {version.name} version {version.number} are not in the artifact store: {error}",
            "Restore the artifact store, or train again with `mnistflow retrain`.",
        ) from error
    return RegisteredFiles(next(model.rglob("*.onnx")), probe)


def _log_probe(run: runs.Run, onnx_file: Path, inputs: Array) -> None:
    """Log a few inputs with their outputs, which a server reproduces before it serves the version."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = onnx_session.predict(onnx_session.open_session(onnx_file), inputs)
        np.savez(Path(folder) / PROBE, inputs=inputs, outputs=outputs)
        run.log_file(Path(folder) / PROBE)


def _create_model(name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        mlflow_client().get_registered_model(name)
    except MlflowException:
        mlflow_client().create_registered_model(name)


def _schema(tensors: Sequence[Tensor]) -> Any:
    from mlflow.types import Schema, TensorSpec

    types = {"UINT8": np.uint8, "FP32": np.float32}
    return Schema([TensorSpec(np.dtype(types[one.datatype]), one.shape, name=one.name) for one in tensors])


def _installed(package: str) -> str:
    from importlib.metadata import version

    return version(package)
