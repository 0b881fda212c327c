"""The model repository that servers read, in Triton's layout.

    <dataset>-classifier/
      config.pbtxt   3/model.onnx   3/model.json   3/probe.npz   champion   rollout.json

A version's folder appears whole, by a rename, and is written anew only when it is damaged; `champion` and
`rollout.json` are replaced atomically. A server that reads at any moment sees a whole model or none.
"""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mnistflow import files
from mnistflow.errors import DataError, RegistryError
from mnistflow.paths import Paths
from mnistflow.registry import versions
from mnistflow.registry.versions import Version
from mnistflow.tasks.task import Signature


@dataclass(frozen=True)
class Rollout:
    """How servers try a challenger.

    Attributes:
        canary: share of the requests that it answers, 0 to 1.
        shadow: whether it gets a copy of the others.
    """

    challenger: int
    canary: float = 0.0
    shadow: bool = False

    def __str__(self) -> str:
        manner = []
        if self.canary:
            manner.append(f"answers {self.canary * 100:g}% of the requests")
        if self.shadow:
            manner.append(f"gets a copy of {'the others' if self.canary else 'all requests'}")
        return f"version {self.challenger} {' and '.join(manner)}"


_DATATYPES = {"uint8": "UINT8", "float32": "FP32"}


def describe(signature: Signature) -> dict[str, list[dict[str, Any]]]:
    """Return inputs and outputs as the Open Inference Protocol names them."""
    return {
        "inputs": [
            {
                "name": signature.input_name,
                "datatype": _DATATYPES[signature.input_dtype],
                "shape": [-1, *signature.input_shape],
            }
        ],
        "outputs": [{"name": signature.output_name, "datatype": "FP32", "shape": [-1, *signature.output_shape]}],
    }


def champion(paths: Paths, name: str) -> int | None:
    """Return the number of the version that serves."""
    pointer = paths.models / name / "champion"
    return int(pointer.read_text()) if pointer.is_file() else None


def rollout(paths: Paths, name: str) -> Rollout | None:
    """Return how a challenger is tried, if one is.

    Raises:
        DataError: `rollout.json` is not as `try_out` writes it.
    """
    path = paths.models / name / "rollout.json"
    if not path.is_file():
        return None
    try:
        return Rollout(**files.read_json(path))
    except TypeError as error:
        raise DataError(f"{path} is no rollout", "Delete that file.") from error


def try_out(paths: Paths, name: str, rollout: Rollout | None) -> None:
    """Let servers try a published version so; None for no version."""
    path = paths.models / name / "rollout.json"
    if rollout is None:
        files.remove(path)
    else:
        files.write_json(path, asdict(rollout))


def is_whole(paths: Paths, name: str, number: int) -> bool:
    """Whether a version is published, and its files are as they were written."""
    folder = paths.models / name / str(number)
    try:
        wanted = files.read_json(folder / "model.json")["sha256"]
        return files.sha256(folder / "model.onnx") == wanted and (folder / "probe.npz").is_file()
    except (DataError, OSError, KeyError, TypeError):
        return False


def publish(paths: Paths, version: Version) -> Path:
    """Put a registered version into the repository; one that is there already, undamaged, is left as it is.

    Raises:
        RegistryError: its files cannot be had from the registry.
    """
    folder = paths.models / version.name / str(version.number)
    if is_whole(paths, version.name, version.number):
        return folder
    with files.atomic_write(folder) as temporary, tempfile.TemporaryDirectory(dir=paths.var) as downloads:
        temporary.mkdir()
        registered = versions.download(version, Path(downloads))
        shutil.copyfile(registered.model, temporary / "model.onnx")
        shutil.copyfile(registered.probe, temporary / "probe.npz")
        # MLflow writes the graph anew: the hash that servers check is that of the file they read.
        model_json = {**version.model_json, "sha256": files.sha256(temporary / "model.onnx")}
        files.write_json(temporary / "model.json", model_json)
    return folder


def serve(paths: Paths, version: Version) -> None:
    """Make a published version the one that serves.

    Raises:
        RegistryError: the version was not published.
    """
    folder = paths.models / version.name
    if not (folder / str(version.number)).is_dir():
        raise RegistryError(f"{version.name} version {version.number} is not in {folder}", "Publish it first.")
    config = _triton_config(version)
    with files.atomic_write(folder / "config.pbtxt") as temporary:
        temporary.write_text(config, encoding="utf-8")
    with files.atomic_write(folder / "champion") as temporary:
        temporary.write_text(f"{version.number}\n", encoding="utf-8")


def _triton_config(version: Version) -> str:
    """Triton's model configuration; a batch dimension in `dims` needs `max_batch_size` 0."""
    tensors = "".join(
        f'{kind} [{{ name: "{tensor["name"]}" data_type: TYPE_{tensor["datatype"]} dims: {tensor["shape"]} }}]\n'
        for kind in ("input", "output")
        for tensor in version.model_json[f"{kind}s"]
    )
    return (
        f'name: "{version.name}"\nplatform: "onnxruntime_onnx"\nmax_batch_size: 0\n{tensors}'
        f"version_policy: {{ specific: {{ versions: [{version.number}] }} }}\n"
    )
