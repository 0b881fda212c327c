"""The folder of verified raw files that fetch leaves to prepare, and the manifest that identifies them."""

import hashlib
import shutil
from collections.abc import Iterable
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from mnistflow import files
from mnistflow.data.entry import Entry
from mnistflow.errors import DataError

MANIFEST = "dataset.json"


class RawFile(BaseModel):
    """Size and hash of a raw file."""

    model_config = ConfigDict(frozen=True)

    bytes: int
    sha256: str


class RawData(BaseModel):
    """Which data set the raw files are.

    The same files give the same manifest: it holds no time and no address, so that a data set that comes from another
    mirror makes no later stage run again.

    Attributes:
        name: of the data set.
        classes: what the labels mean.
        files: by file name.
        sha256: over the hashes of all files: the identity of the raw data.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    classes: tuple[str, ...]
    files: dict[str, RawFile]
    sha256: str


def describe(entry: Entry, paths: Iterable[Path]) -> RawData:
    """Return the manifest of a data set's raw files."""
    described = {path.name: RawFile(bytes=path.stat().st_size, sha256=files.sha256(path)) for path in sorted(paths)}
    identity = hashlib.sha256("".join(f"{file.sha256}  {name}\n" for name, file in described.items()).encode())
    return RawData(name=entry.name, classes=entry.classes, files=described, sha256=identity.hexdigest())


def save(folder: Path, data: RawData, paths: Iterable[Path]) -> None:
    """Put the raw files and their manifest into `folder`, in place of what was there.

    Raises:
        DataError: the place cannot be written.
    """
    with files.atomic_write(folder) as temporary:
        temporary.mkdir()
        for path in paths:
            shutil.copyfile(path, temporary / path.name)
        files.write_json(temporary / MANIFEST, data.model_dump(mode="json"))
        files.remove(folder)


def load(folder: Path) -> RawData:
    """Return the manifest of the raw files in `folder`, each checked against it.

    Raises:
        DataError: the manifest or a file is missing or is not what it was.
    """
    try:
        data = RawData.model_validate(files.read_json(folder / MANIFEST))
    except ValidationError as error:
        raise DataError(f"{folder / MANIFEST} is no manifest of raw data", "Run `mnistflow fetch` again.") from error
    for name, file in data.files.items():
        path = folder / name
        if not path.is_file() or files.sha256(path) != file.sha256:
            raise DataError(f"{path} is missing or was changed after it was fetched", "Run `mnistflow fetch` again.")
    return data
