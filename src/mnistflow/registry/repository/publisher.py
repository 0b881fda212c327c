"""Publisher: writes versions into the model repository that servers read. `follower.prune` decides which stay.

    <dataset>-classifier/
      config.pbtxt   3/model.onnx   3/model.json   3/probe.npz   3/model-card.md ...   champion   rollout.json

A version's folder is renamed into place when it is complete, and is written again only when it is damaged, or that of
another registry, whose numbers are the same; `champion` and `rollout.json` are replaced atomically. A server that reads
at any moment sees a complete model or none. `schemas/model.schema.json` defines model.json.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from filelock import FileLock

from mnistflow import files
from mnistflow.errors import DataError, RegistryError
from mnistflow.paths import Paths
from mnistflow.registry import manifest
from mnistflow.registry.rollouts import Rollout
from mnistflow.registry.versions import Version

# Rows of one request in Triton; the default of our server's `--max-rows`.
MAX_BATCH_SIZE = 1024


@contextmanager
def locked(paths: Paths, name: str) -> Iterator[None]:
    """Let no other process of this machine write the model's folder meanwhile."""
    paths.models.mkdir(parents=True, exist_ok=True)
    with FileLock(paths.models / f".{name}.lock"):
        yield


def published_champion(paths: Paths, name: str) -> int | None:
    """Return the number of the version that the repository's pointer names; None if it names none."""
    pointer = paths.models / name / "champion"
    text = pointer.read_text(errors="replace").strip() if pointer.is_file() else ""
    return int(text) if text.isdecimal() else None


def read_rollout(paths: Paths, name: str) -> Rollout | None:
    """Return the rollout of a model as the repository has it; None without one.

    Raises:
        DataError: `rollout.json` is not as `write_rollout` writes it.
    """
    path = paths.models / name / "rollout.json"
    if not path.is_file():
        return None
    try:
        return Rollout(**files.read_json(path, files.DELETE))
    except TypeError as error:
        raise DataError(f"{path} is not a valid rollout", files.DELETE) from error


def write_rollout(paths: Paths, name: str, rollout: Rollout | None) -> None:
    """Write the rollout of a published version for servers; None ends it."""
    path = paths.models / name / "rollout.json"
    if rollout is None:
        files.remove(path)
    else:
        files.write_json(path, asdict(rollout))


def folder_of(paths: Paths, version: Version) -> Path:
    """Return the folder of a version in the repository, which need not exist."""
    return paths.models / version.name / str(version.number)


def is_intact(paths: Paths, version: Version) -> bool:
    """Return whether this version is published, and its files are as they were written.

    A folder of the same number may be that of another registry. Runs have ids that no two registries share.
    """
    folder = folder_of(paths, version)
    try:
        model_json = files.read_json(folder / "model.json")
        sha256 = model_json["sha256"]
        is_own = model_json["run_id"] == version.run_id and (sha256 == version.sha256 or not version.has_exact_file)
        has_all = all((folder / name).is_file() for name in ("probe.npz", *version.bundle))
        return is_own and has_all and files.sha256(folder / "model.onnx") == sha256
    except (DataError, OSError, KeyError, TypeError):
        return False


def publish(paths: Paths, version: Version) -> bool:
    """Copy a registered version into the repository, and return whether that was necessary.

    An undamaged copy is left as it is. A damaged one is replaced, and so is a folder of another registry. The caller
    has the model's folder `locked`.

    Raises:
        RegistryError: the artifact store does not have its files, or has another ONNX file than was registered.
    """
    if is_intact(paths, version):
        return False
    folder = folder_of(paths, version)
    with files.atomic_folder(folder) as temporary:
        write(paths, version, temporary)
    return True


def write(paths: Paths, version: Version, folder: Path) -> None:
    """Write the files of a registered version, as servers read them, into an empty folder.

    Raises:
        RegistryError: the artifact store does not have its files, or has another ONNX file than was registered.
    """
    # Imported here, because status and leaderboard must load neither numpy nor MLflow.
    from mnistflow.registry import registration

    with tempfile.TemporaryDirectory(dir=paths.var) as downloads:
        registered = registration.download(version, Path(downloads))
        shutil.copyfile(registered.model, folder / "model.onnx")
        shutil.copyfile(registered.probe, folder / "probe.npz")
        for document in registered.bundle:
            shutil.copyfile(document, folder / document.name)
    sha256 = files.sha256(folder / "model.onnx")
    if version.has_exact_file and sha256 != version.sha256:
        raise RegistryError(
            f"the artifact store has a different model.onnx from the one registered as {version.name} version "
            f"{version.number}: sha256 {sha256} instead of {version.sha256}",
            "Restore the artifact store, or train again with `mnistflow retrain`.",
        )
    files.write_json(folder / "model.json", manifest.to_publish(registered.model_json, sha256))


def write_champion(paths: Paths, version: Version) -> None:
    """Point the repository to a published version, which servers then serve.

    Raises:
        RegistryError: the version is not published.
    """
    folder = paths.models / version.name
    if not (folder / str(version.number)).is_dir():
        raise RegistryError(f"{version.title} is not in {folder}", "Publish it first.")
    model_json = files.read_json(folder / str(version.number) / "model.json")
    config = _triton_config(version, model_json)
    with files.atomic_write(folder / "config.pbtxt") as temporary:
        temporary.write_text(config, encoding="utf-8")
    with files.atomic_write(folder / "champion") as temporary:
        temporary.write_text(f"{version.number}\n", encoding="utf-8")


def remove_version(paths: Paths, name: str, number: int) -> None:
    """Remove a version from the repository. The caller has the model's folder `locked`."""
    folder = paths.models / name / str(number)
    if folder.is_dir():
        # Renamed first: a server sees the whole version or none.
        files.remove(folder.rename(folder.with_name(f".{number}.old")))


def _dimensions(tensor: Mapping[str, Any]) -> str:
    """Triton knows no tensor without dimensions besides that of the batch."""
    dims = tensor["shape"][1:]
    return f"dims: {dims}" if dims else "dims: [1] reshape: { shape: [] }"


def _triton_config(version: Version, model_json: Mapping[str, Any]) -> str:
    """Triton's model configuration, equal to what our server answers at `/v2/models/NAME/config`.

    With a `max_batch_size`, Triton takes the batch dimension for granted: `dims` leave it out.
    """
    tensors = "".join(
        f'{kind} [{{ name: "{tensor["name"]}" data_type: TYPE_{tensor["datatype"]} {_dimensions(tensor)} }}]\n'
        for kind in ("input", "output")
        for tensor in model_json[f"{kind}s"]
    )
    return (
        f'name: "{version.name}"\nplatform: "onnxruntime_onnx"\nbackend: "onnxruntime"\n'
        f"version_policy {{ specific {{ versions: [{version.number}] }} }}\n"
        f"max_batch_size: {MAX_BATCH_SIZE}\n{tensors}"
        "dynamic_batching { max_queue_delay_microseconds: 0 }\n"
    )
