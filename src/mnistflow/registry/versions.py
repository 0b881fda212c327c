"""The model registry: versions of `<dataset>-classifier` in MLflow, with aliases and the evidence of each decision.

What follows the data set's name depends on its task.

Aliases: `champion` serves, `previous` served before it, `challenger` is the last that did not win.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from mnistflow import tasks
from mnistflow.arrays import Array
from mnistflow.data import catalog
from mnistflow.errors import RegistryError
from mnistflow.runtime import onnx_session
from mnistflow.tasks.identity import Headline
from mnistflow.tasks.task import Task
from mnistflow.tracking import runs
from mnistflow.tracking.client import mlflow_client

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

PROBE = "probe.npz"  # artifact of the run
PROBE_ROWS = 16
CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"
_TAG = "mnistflow."

Decision = Literal["promote", "hold", "reject"]


@dataclass(frozen=True)
class Version:
    """A registered version.

    Attributes:
        model_json: what servers read about it, see `repository`.
        decision: of the gate; `hold` before it has decided.
        reasons: of that decision.
        history: when and how it became champion, a line each.
        is_overruled: whether somebody put another version in its place by hand.
    """

    name: str
    number: int
    run_id: str
    model_json: Mapping[str, Any]
    decision: Decision
    reasons: tuple[str, ...]
    aliases: tuple[str, ...]
    created_ms: int
    history: tuple[str, ...]
    is_overruled: bool

    @property
    def headline(self) -> Headline:
        return tasks.get(self.model_json["task"]).headline

    @property
    def score(self) -> float:
        """The headline metric on the test split."""
        return float(self.model_json["metrics"][self.headline.name])

    @property
    def quality(self) -> str:
        """The score for people: `test accuracy 99.31%`."""
        return self.headline.said(self.score)


@dataclass(frozen=True)
class RegisteredFiles:
    """Local copies of what a version consists of: the ONNX file, and inputs with the outputs recorded for them."""

    model: Path
    probe: Path


def task_of(dataset: str) -> Task:
    """Return what is learned from a data set."""
    return tasks.get(catalog.described(dataset, ()).task)


def model_name(dataset: str) -> str:
    """Return the registered name of the models of a data set."""
    return f"{dataset}-{task_of(dataset).identity.product}"


def register(run: runs.Run, name: str, onnx_file: Path, example: Array, model_json: Mapping[str, Any]) -> Version:
    """Log the ONNX file as an MLflow model with signature and input example, and register it as a new version.

    Args:
        example: a few inputs `[n, *input_shape]`.
        model_json: facts about the model; kept as a tag of the version.
    """
    import mlflow
    import onnx

    signature = mlflow.models.ModelSignature(
        inputs=_schema(model_json["inputs"]), outputs=_schema(model_json["outputs"])
    )
    _log_probe(run, onnx_file, example)
    with mlflow.start_run(run_id=run.run_id, log_system_metrics=False):
        logged = mlflow.onnx.log_model(
            onnx.load(onnx_file),
            name="model",
            signature=signature,
            input_example={model_json["inputs"][0]["name"]: example},
            save_as_external_data=False,
            onnx_execution_providers=["CPUExecutionProvider"],
            pip_requirements=[
                f"{package}=={_installed(package)}" for package in ("mlflow", "onnx", "onnxruntime", "numpy")
            ],
        )
        client = mlflow_client()
        _make_model(name)
        version = client.create_model_version(
            name, logged.model_uri, run.run_id, tags={_TAG + "model": json.dumps(model_json)}, model_id=logged.model_id
        )
    return find(name, int(version.version))


def _log_probe(run: runs.Run, onnx_file: Path, inputs: Array) -> None:
    """Keep a few inputs with their outputs, which servers compare with what they compute."""
    with tempfile.TemporaryDirectory() as folder:
        outputs = onnx_session.predict(onnx_session.open_session(onnx_file), inputs)
        np.savez(Path(folder) / PROBE, inputs=inputs, outputs=outputs)
        run.log_file(Path(folder) / PROBE)


def find(name: str, number: int) -> Version:
    """Return one version.

    Raises:
        RegistryError: there is no such version.
    """
    from mlflow.exceptions import MlflowException

    try:
        return _version(mlflow_client().get_model_version(name, str(number)))
    except MlflowException as error:
        raise RegistryError(f"{name} has no version {number}", "`mnistflow leaderboard` lists the versions.") from error


def all_versions(name: str) -> list[Version]:
    """Return all versions, newest first; none when the model does not exist."""
    found = mlflow_client().search_model_versions(f"name = '{name}'", max_results=1000)
    aliased = _aliases(name)
    entries = [
        _version(entry, tuple(alias for alias, number in aliased.items() if number == int(entry.version)))
        for entry in found
    ]
    return sorted(entries, key=lambda version: -version.number)


def holder(name: str, alias: str) -> Version | None:
    """Return the version an alias points to."""
    number = _aliases(name).get(alias)
    return find(name, number) if number else None


def registered_as(name: str, model_sha256: str) -> Version | None:
    """Return the version that holds the very same ONNX file."""
    return next((version for version in all_versions(name) if version.model_json["sha256"] == model_sha256), None)


def note_decision(version: Version, decision: str, reasons: tuple[str, ...], evidence: Mapping[str, Any]) -> None:
    """Keep the gate's decision, its reasons and the metrics of both models with the version."""
    client = mlflow_client()
    for tag, value in {"decision": decision, "reasons": json.dumps(reasons), "evidence": json.dumps(evidence)}.items():
        client.set_model_version_tag(version.name, str(version.number), _TAG + tag, value)


def trace(version: Version, entry: str) -> None:
    """Add a line to what happened to a version."""
    client = mlflow_client()
    tags = client.get_model_version(version.name, str(version.number)).tags
    history = "\n".join(filter(None, [tags.get(_TAG + "history"), entry]))
    client.set_model_version_tag(version.name, str(version.number), _TAG + "history", history)


def overrule(version: Version, is_overruled: bool) -> None:
    """Note whether somebody put another version in its place by hand."""
    value = str(is_overruled).lower()
    mlflow_client().set_model_version_tag(version.name, str(version.number), _TAG + "overruled", value)


def crown(version: Version) -> None:
    """Make a version the champion; the one before it stays known as `previous`."""
    client = mlflow_client()
    current = _aliases(version.name)
    if current.get(CHAMPION) == version.number:
        return
    if CHAMPION in current:
        client.set_registered_model_alias(version.name, PREVIOUS, str(current[CHAMPION]))
    client.set_registered_model_alias(version.name, CHAMPION, str(version.number))
    if current.get(CHALLENGER) == version.number:
        client.delete_registered_model_alias(version.name, CHALLENGER)


def keep_as_challenger(version: Version) -> None:
    """Note the version as the last one that did not win."""
    mlflow_client().set_registered_model_alias(version.name, CHALLENGER, str(version.number))


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
            "Bring the store back, or train again with `mnistflow retrain`.",
        ) from error
    return RegisteredFiles(next(model.rglob("*.onnx")), probe)


def _make_model(name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        mlflow_client().get_registered_model(name)
    except MlflowException:
        mlflow_client().create_registered_model(name)


def _aliases(name: str) -> dict[str, int]:
    from mlflow.exceptions import MlflowException

    try:
        return {alias: int(number) for alias, number in mlflow_client().get_registered_model(name).aliases.items()}
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return {}
        raise


def _version(entry: ModelVersion, aliases: tuple[str, ...] | None = None) -> Version:
    tags = entry.tags
    return Version(
        name=entry.name,
        number=int(entry.version),
        run_id=entry.run_id,
        model_json={**json.loads(tags[_TAG + "model"]), "version": int(entry.version)},
        decision=cast(Decision, tags.get(_TAG + "decision", "hold")),
        reasons=tuple(json.loads(tags.get(_TAG + "reasons", "[]"))),
        aliases=tuple(entry.aliases) if aliases is None else aliases,
        created_ms=entry.creation_timestamp,
        history=tuple(tags.get(_TAG + "history", "").splitlines()),
        is_overruled=tags.get(_TAG + "overruled") == "true",
    )


def _schema(tensors: list[dict[str, Any]]) -> Any:
    from mlflow.types import Schema, TensorSpec

    types = {"UINT8": np.uint8, "FP32": np.float32}
    return Schema([TensorSpec(np.dtype(types[t["datatype"]]), tuple(t["shape"]), name=t["name"]) for t in tensors])


def _installed(package: str) -> str:
    from importlib.metadata import version

    return version(package)
