"""Registered models that a training uses: members of an ensemble, a teacher, the network of a warm start."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mnistflow import tasks
from mnistflow.errors import RegistryError
from mnistflow.registry import flavors, manifest, registration, versions
from mnistflow.registry.versions import Version
from mnistflow.splits import Dataset
from mnistflow.tracking import artifacts


def find(reference: int | str, dataset: str, parameter: str, known: Sequence[Version] | None = None) -> Version:
    """Return the version that a parameter names.

    Args:
        reference: number of a version, id of the run that registered it, or an alias such as `champion`.
        dataset: whose models are searched.
        parameter: dotted key, for messages.
        known: versions of that model, if they have been read already.

    Raises:
        RegistryError: there is no such version.
    """
    name = versions.model_name(dataset)
    candidates = versions.all_versions(name) if known is None else known
    for version in candidates:
        if reference in (version.number, version.run_id, *version.aliases):
            return version
    raise RegistryError(
        f"{parameter}: {name} has no {_what(reference)}",
        f"Its versions: {', '.join(str(version.number) for version in reversed(candidates)) or 'none'}.",
    )


def _what(reference: int | str) -> str:
    if isinstance(reference, int):
        return f"version {reference}"
    is_run = re.fullmatch(r"[0-9a-f]{32}", reference)
    return f"version registered by run {reference}" if is_run else f"version with alias {reference}"


def read(version: Version, data: Dataset, sha256: str, parameter: str) -> bytes:
    """Return the ONNX file of a version, after checks of its hash, and of its signature and classes against the data.

    Args:
        version: to read.
        data: a prepared data set.
        sha256: of the file at the start of the run.
        parameter: dotted key that names the version, for messages.

    Raises:
        RegistryError: the file has changed, is missing, or its model has another signature than the data.
    """
    label = f"{parameter}: {version.title}"
    if sha256 != version.sha256:
        raise RegistryError(f"{label} has changed since the start of this run", "Start the run again.")
    with tempfile.TemporaryDirectory() as folder:
        registered = registration.download(version, Path(folder))
        _check(label, registered.model_json, data)
        return registered.model.read_bytes()


def keras_file(version: Version, data: Dataset, parameter: str, folder: Path) -> Path:
    """Copy the trained network of a version into a folder, after a check of its signature; return the copy.

    Args:
        version: to read.
        data: a prepared data set.
        parameter: dotted key that names the version, for messages.
        folder: an existing one.

    Raises:
        RegistryError: the version has no Keras model, or another signature than the data.
    """
    label = f"{parameter}: {version.title}"
    _check(label, registration.download(version, folder).model_json, data)
    try:
        return artifacts.of_version(version.name, version.number, flavors.KERAS_FILE, folder)
    except RegistryError as error:
        raise RegistryError(f"{label} has no Keras model: {error.problem}", "Name another version.") from error


def _check(label: str, model_json: Mapping[str, Any], data: Dataset) -> None:
    signature = tasks.get(data.task).signature(data.input_shape, data.classes)
    tensors = {kind: [one.to_json() for one in found] for kind, found in manifest.tensors(signature).items()}
    expected = {"task": data.task, "classes": list(data.classes), **tensors}
    for fact, value in expected.items():
        if model_json[fact] != value:
            raise RegistryError(
                f"{label} has {fact} {model_json[fact]}, but the data set has {value}", "Name another version."
            )
