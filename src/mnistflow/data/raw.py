"""Raw files: the output folder of stage fetch, with a manifest of sizes and hashes."""

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
    """Size and hash of a raw file.

    Attributes:
        bytes: size of the file.
        sha256: of the file.
    """

    model_config = ConfigDict(frozen=True)

    bytes: int
    sha256: str


class RawData(BaseModel):
    """Manifest of the raw files of a data set.

    The same files give the same manifest. It contains neither time nor source, so later stages do not run again if a
    data set is downloaded from another mirror.

    Attributes:
        name: of the data set.
        classes: names of the classes 0, 1, ...
        files: file name -> size and hash.
        sha256: hash over the hashes of all files.
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
    """Replace a folder by the raw files and their manifest.

    Args:
        folder: the output folder of stage fetch.
        data: the manifest.
        paths: of the raw files, which are copied.

    Raises:
        DataError: the folder cannot be written.
    """
    with files.atomic_folder(folder) as temporary:
        for path in paths:
            shutil.copyfile(path, temporary / path.name)
        files.write_json(temporary / MANIFEST, data.model_dump(mode="json"))


def load(folder: Path) -> RawData:
    """Return the manifest of a folder of raw files, after checking their hashes.

    Raises:
        DataError: the manifest or a file is missing or was modified.
    """
    try:
        data = RawData.model_validate(files.read_json(folder / MANIFEST))
    except ValidationError as error:
        raise DataError(f"{folder / MANIFEST} is not a manifest of raw data", "Run `mnistflow fetch` again.") from error
    for name, file in data.files.items():
        path = folder / name
        if not path.is_file() or files.sha256(path) != file.sha256:
            raise DataError(f"{path} is missing or was modified after it was fetched", "Run `mnistflow fetch` again.")
    return data
