"""Registration of a trained model: its files go to MLflow's artifact store, and come back from there."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

import mnistflow
from mnistflow import files, splits, tasks
from mnistflow.arrays import Array
from mnistflow.checkout import git
from mnistflow.data import catalog
from mnistflow.errors import RegistryError
from mnistflow.evaluation.evaluate import Evaluation
from mnistflow.paths import Paths
from mnistflow.process_identity import user_at_host
from mnistflow.registry import descriptions, flavors, versions, weights
from mnistflow.registry.manifest import Manifest, Tensor, tensors
from mnistflow.registry.versions import TAG, Version
from mnistflow.runtime import onnx_session
from mnistflow.tasks import identity
from mnistflow.tasks.doubt import Doubt
from mnistflow.tracking import artifacts, runs
from mnistflow.tracking.client import mlflow_client
from mnistflow.tracking.records import StoredRun
from mnistflow.tracking.store import open_store

PROBE = "probe.npz"  # artifact of the run
PROBE_ROWS = 16
COMMIT_DIGITS = 10
_UNFIT_FOR_NAMES = re.compile(r"[/:.%\"']")  # MLflow refuses these in the name of a logged model


@dataclass(frozen=True)
class RegisteredFiles:
    """Local copies of the files of a version.

    Attributes:
        model: the ONNX file.
        probe: a few inputs, and the outputs that were recorded for them.
        model_json: the version's manifest as plain values, see `manifest.Manifest`, with its number as `version`.
        bundle: the documents about it.
    """

    model: Path
    probe: Path
    model_json: Mapping[str, Any]
    bundle: tuple[Path, ...]


def register_candidate(workspace: Paths, run: runs.Run, evaluation: Evaluation, bundle: Sequence[str] = ()) -> Version:
    """Register the exported model of a workspace, unless the very same file is registered already.

    Args:
        workspace: that of the model.
        run: the run that has trained it.
        evaluation: of the model.
        bundle: names of the documents about the model that the run has.
    """
    data = splits.load(workspace.prepared)
    name = versions.model_name(data.name)
    known = versions.registered_as(name, evaluation.model_sha256)
    if known:
        return known
    task = tasks.get(data.task)
    signature = task.signature(data.input_shape, data.classes)
    facts = Manifest(
        name=name,
        task=data.task,
        dataset=data.name,
        classes=data.classes,
        **tensors(signature),
        preprocessing=catalog.described(data.name, data.classes).preprocessing,
        sha256=evaluation.model_sha256,
        data_sha256=data.data_sha256,
        metrics={**evaluation.metrics, **evaluation.speed},
        doubt=Doubt.read(workspace.exported),
        run_id=run.run_id,
        git_commit=git.describe_commit(workspace.checkout),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        mnistflow_version=mnistflow.__version__,
    )
    example = task.evaluation_split(data.test).inputs[:PROBE_ROWS]
    version = register(run, workspace.exported / "model.onnx", workspace.trained, example, facts, bundle)
    describe_model(name, descriptions.of_model(facts))
    note = descriptions.of_run(runs.read(run.run_id), name, version.number)
    run.set_tags({runs.VERSION: f"{name}/{version.number}", runs.NOTE: note})
    return version


def register(
    run: runs.Run,
    onnx_file: Path,
    trained: Path | None,
    example: Array,
    manifest: Manifest,
    bundle: Sequence[str] = (),
) -> Version:
    """Log a model with all its flavours, signature and input example, and register it as a new version.

    Args:
        run: the run that has trained it.
        trained: folder with the trained model in the format of its learner; None for none.
        example: a few inputs `[n, *input_shape]`.
        manifest: facts about the model; kept in its folder, the most important ones also as tags of the version.
        bundle: names of the documents about the model that the run has.
    """
    import mlflow

    recorded = runs.read(run.run_id)
    _log_probe(run, onnx_file, example)
    with mlflow.start_run(run_id=run.run_id, log_system_metrics=False):
        logged = mlflow.models.Model.log(
            None,
            flavors,
            name=_UNFIT_FOR_NAMES.sub("_", recorded.name),
            flavor_name="onnx",
            signature=mlflow.models.ModelSignature(_schema(manifest.inputs), _schema(manifest.outputs)),
            input_example=onnx_session.by_name(example, manifest.inputs[0].name),
            graph=onnx_file,
            trained=trained,
            model_json=manifest.to_json(),
        )
        _create_model(manifest.name)
        version = mlflow_client().create_model_version(
            manifest.name,
            logged.model_uri,
            run.run_id,
            tags={TAG + key: value for key, value in _tags(manifest, recorded, onnx_file, bundle).items()},
            model_id=logged.model_id,
        )
    return versions.find(manifest.name, int(version.version))


def add_document(run: runs.Run, version: Version, document: Path) -> Version:
    """Add a document to the bundle of a version, or replace it, and return the version with it."""
    run.log_file(document, versions.BUNDLE)
    bundle = tuple(dict.fromkeys((*version.bundle, document.name)))
    mlflow_client().set_model_version_tag(version.name, str(version.number), TAG + versions.BUNDLE, " ".join(bundle))
    return versions.find(version.name, version.number)


def describe_model(name: str, text: str) -> None:
    """Set the description of a registered model, in Markdown, unless it has one: somebody may have written it."""
    client = mlflow_client()
    if not client.get_registered_model(name).description:
        client.update_registered_model(name, text)


def describe(version: Version, text: str) -> None:
    """Set the description of a version, in Markdown."""
    mlflow_client().update_model_version(version.name, str(version.number), text)


def _tags(manifest: Manifest, run: StoredRun, onnx_file: Path, bundle: Sequence[str]) -> dict[str, str]:
    """Return what commands read of a version and what one filters versions by."""
    headline = identity.get(manifest.task).headline.name
    commit, _, dirty = manifest.git_commit.partition("-")
    tags = {
        "task": manifest.task,
        "dataset": manifest.dataset,
        "family": run.parameters.get("model.family", ""),
        "preset": run.tags.get(runs.PRESET, ""),
        headline: str(manifest.metrics.get(headline, "")),
        "git_commit": f"{commit[:COMMIT_DIGITS]}{'-' if dirty else ''}{dirty}",
        "sha256": manifest.sha256,
        "exact_file": "true",
        versions.BUNDLE: " ".join(bundle),
        "weights": weights.digest(onnx_file),
        "user": user_at_host(),
    }
    return {name: value for name, value in tags.items() if value}


def download(version: Version, folder: Path) -> RegisteredFiles:
    """Copy the files of a version into an existing folder.

    Raises:
        RegistryError: the artifact store does not have them.
    """
    try:
        model = artifacts.of_version(version.name, version.number, flavors.ONNX_FILE, folder)
        model_json = _read_manifest(version, folder)
        probe = artifacts.of_run(version.run_id, PROBE, folder)
        bundle = tuple(artifacts.of_run(version.run_id, f"{versions.BUNDLE}/{name}", folder) for name in version.bundle)
    except RegistryError as error:
        raise RegistryError(
            f"the files of {version.title} are not in the artifact store: {error.problem}",
            "Restore the artifact store, or train again with `mnistflow retrain`.",
        ) from error
    return RegisteredFiles(model, probe, {**model_json, "version": version.number}, bundle)


def _read_manifest(version: Version, folder: Path) -> Any:
    """Return the manifest, which older versions keep as a tag."""
    stored = open_store().version(version.name, version.number)
    if stored and (text := stored.tags.get(versions.MANIFEST_TAG)):
        return json.loads(text)
    return files.read_json(artifacts.of_version(version.name, version.number, flavors.MODEL_JSON, folder))


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

    types = {"UINT8": np.uint8, "FP32": np.float32, "INT64": np.int64}
    return Schema([TensorSpec(np.dtype(types[one.datatype]), one.shape, name=one.name) for one in tensors])
