"""Model repository: reads versions, the pointer to the champion, and the rollout of a challenger.

A model has the files `<version>/{model.onnx,model.json,probe.npz}`, `champion` and `rollout.json` in its folder. With a
trusted key, each version has to be signed: `<version>/model.sig`, over all of its files.

Publishers rename whole folders and files into place, so whatever is read here is complete.
"""

import hashlib
import io
import logging
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from serving.engine.signature import TrustedKey
from serving.errors import CommandError, ModelRefusedError
from serving.manifest import NAME, Manifest, parse_manifest
from serving.protocol.tensors import Array

log = logging.getLogger(__name__)

VERSION = re.compile(r"[1-9][0-9]{0,8}")
LOADED = ("model.json", "model.onnx", "probe.npz")

FileId = tuple[int, int]


@dataclass(frozen=True, slots=True)
class RolloutSpec:
    """The content of `rollout.json`.

    Attributes:
        challenger: number of the version in the rollout; 0 if the file is not valid.
        canary: share of the requests that the challenger answers, 0 to 1.
        shadow: whether the challenger computes the other requests as well, for comparison.
        changed_ns: when the file was written, in nanoseconds since the epoch: writing it again restarts the rollout.
    """

    challenger: int
    canary: float
    shadow: bool
    changed_ns: int


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model folder with a champion.

    Attributes:
        champion: number of the version that should serve; 0 if the file `champion` holds no version number.
        changed_ns: when that file was written, in nanoseconds since the epoch.
        versions: numbers of all versions, ascending.
        created: when the first of them was made, ISO 8601 in UTC; empty if it does not say.
        rollout: of a challenger; None without one.
    """

    champion: int
    changed_ns: int
    versions: tuple[int, ...]
    created: str = ""
    rollout: RolloutSpec | None = None

    def has_same_selection(self, other: "ModelEntry | None") -> bool:
        """Return whether champion and challenger are the same as in another entry.

        They are if the same pointer files name them, and the same of the two versions are present.
        """
        return other is not None and self._selection() == other._selection()

    def _selection(self) -> tuple[object, ...]:
        challenger = self.rollout.challenger if self.rollout else 0
        present = (self.champion in self.versions, challenger in self.versions)
        return (self.champion, self.changed_ns, self.rollout, *present)


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A version as stored: its manifest, the bytes of its ONNX file, and recorded predictions to reproduce.

    Attributes:
        file_id: of its model.json, see `ModelRepository.file_id`.
    """

    manifest: Manifest
    onnx: bytes
    probe_inputs: Array
    probe_outputs: Array
    file_id: FileId | None


class ModelRepository:
    """A folder of models, which each call reads.

    Only the last entry of each model is kept, for times at which the model's folder cannot be read.

    Args:
        folder: with the models.
        trusted: the key that versions have to be signed with; None accepts unsigned ones.
    """

    def __init__(self, folder: Path, trusted: TrustedKey | None = None) -> None:
        self.folder = folder
        self._trusted = trusted
        self._entries: dict[str, ModelEntry] = {}
        self._unreadable: set[str] = set()

    def scan(self) -> dict[str, ModelEntry]:
        """Return the entries of all models that have a champion, by name.

        The entry of a model whose folder cannot be read at the moment is the one of the scan before.

        Raises:
            OSError: the repository cannot be read.
        """
        entries, unreadable = {}, set()
        for folder in sorted(self.folder.iterdir()):
            name = folder.name
            if not NAME.fullmatch(name):
                continue
            try:
                entries[name] = _entry(folder)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                unreadable.add(name)
                if name not in self._unreadable:
                    log.error("%s: cannot be read: %s", name, error)
                if name in self._entries:
                    entries[name] = self._entries[name]
        self._unreadable, self._entries = unreadable, entries
        return entries

    def read(self, name: str, version: int) -> StoredModel:
        """Read one version. `name` and `version` must come from `scan`, which allows no other characters in paths.

        Raises:
            ModelRefusedError: files are missing, damaged, contradict each other, or are not signed.
        """
        if version == 0:
            raise ModelRefusedError("the champion file, or rollout.json, holds no version number")
        folder, file_id = self.folder / name / str(version), self.file_id(name, version)
        files = self._files(folder)
        if self._trusted:
            self._trusted.check(files)
        manifest = parse_manifest(_content(files, "model.json"))
        if (manifest.name, manifest.version) != (name, version):
            raise ModelRefusedError("model.json belongs to another model or version")
        onnx = _content(files, "model.onnx")
        if hashlib.sha256(onnx).hexdigest() != manifest.sha256:
            raise ModelRefusedError(
                "the sha256 of model.onnx differs from that in model.json: publish the version again"
            )
        inputs, outputs = _probe(_content(files, "probe.npz"))
        return StoredModel(manifest, onnx, inputs, outputs, file_id)

    def _files(self, folder: Path) -> dict[str, bytes]:
        """Return the files of a version that are loaded, or all of them if they have to be signed, by name.

        Each is read once, so that what is loaded is what was checked.
        """
        if self._trusted is None:
            return {name: _read(folder / name) for name in LOADED if (folder / name).exists()}
        try:
            names = sorted(path.name for path in folder.iterdir())
        except OSError:
            names = []
        return {name: _read(folder / name) for name in names}

    def file_id(self, name: str, version: int) -> FileId | None:
        """Return inode and time of a version's model.json, which change with its folder; None without one."""
        try:
            found = (self.folder / name / str(version) / "model.json").stat()
        except OSError:
            return None
        return found.st_ino, found.st_mtime_ns


def require_champion(repository: ModelRepository, name: str) -> int:
    """Return the number of a model's champion.

    Raises:
        CommandError: there is no repository, or the model has no champion in it.
    """
    try:
        entries = repository.scan()
    except OSError as error:
        reason = f"no model repository at {repository.folder} ({error.strerror})"
        raise CommandError(f"{reason}. Run `mnistflow retrain` first.") from None
    if name not in entries:
        raise CommandError(f"no model {name!r} has a champion. Run `mnistflow retrain` first.")
    return entries[name].champion


def _entry(folder: Path) -> ModelEntry:
    """Return the entry of a model's folder.

    Raises:
        FileNotFoundError, NotADirectoryError: it is not the folder of a model with a champion.
        OSError: it cannot be read.
    """
    pointer = folder / "champion"
    text = pointer.read_text(encoding="ascii", errors="replace").strip()
    versions = sorted(int(path.name) for path in folder.iterdir() if VERSION.fullmatch(path.name))
    return ModelEntry(
        champion=int(text) if VERSION.fullmatch(text) else 0,
        changed_ns=pointer.stat().st_mtime_ns,
        versions=tuple(versions),
        created=_created(folder / str(versions[0])) if versions else "",
        rollout=_rollout_spec(folder / "rollout.json"),
    )


def _created(folder: Path) -> str:
    """Return when a version was made, as its manifest says; empty if it does not."""
    try:
        return str(orjson.loads((folder / "model.json").read_bytes())["created"])
    except (OSError, KeyError, TypeError, ValueError):
        return ""


def _rollout_spec(path: Path) -> RolloutSpec | None:
    try:
        content, changed_ns = path.read_bytes(), path.stat().st_mtime_ns
    except FileNotFoundError:
        return None
    try:
        tree = orjson.loads(content)
        challenger, canary, shadow = tree["challenger"], tree["canary"], tree["shadow"]
        if VERSION.fullmatch(str(challenger)) and 0 <= canary <= 1 and isinstance(shadow, bool):
            return RolloutSpec(int(challenger), float(canary), shadow, changed_ns)
    except (KeyError, TypeError, ValueError):
        pass
    return RolloutSpec(0, 0.0, False, changed_ns)


def _content(files: Mapping[str, bytes], name: str) -> bytes:
    if name not in files:
        raise ModelRefusedError(f"{name} is missing")
    return files[name]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelRefusedError(f"{path.name} cannot be read: {error.strerror}") from error


def _probe(content: bytes) -> tuple[Array, Array]:
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            return arrays["inputs"], arrays["outputs"]
    except (KeyError, ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise ModelRefusedError("probe.npz does not hold the arrays inputs and outputs") from error
