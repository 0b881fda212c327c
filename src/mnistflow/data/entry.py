"""Entry of the catalogue: classes, shape, files and reader of a data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mnistflow.splits import OfficialSplits

IMAGE_CLASSIFICATION = "image_classification"
FORECASTING = "forecasting"
GENERATION = "generation"
GENERATION_SUFFIX = "_generation"  # of names of data sets whose images are those of another one

Preprocessing = Literal["digit", "plain"]


@dataclass(frozen=True)
class File:
    """A published file of a data set.

    Sizes and SHA-256 of `kmnist` are those of TensorFlow Datasets (`datasets/kmnist/checksums.tsv`), its MD5 those of
    torchvision: its files were not available to verify them.

    Attributes:
        bytes: size of the file.
        sha256: of the file.
        md5: of the file, as published by other libraries.
        raw_bytes: size of the decompressed contents.
        raw_sha256: of the decompressed contents; None if unknown.
    """

    bytes: int
    sha256: str
    md5: str
    raw_bytes: int
    raw_sha256: str | None = None


def source_of(name: str) -> str:
    """Return the name of the data set whose files a data set has: mostly its own."""
    return name.removesuffix(GENERATION_SUFFIX)


@dataclass(frozen=True)
class Entry:
    """A data set.

    Attributes:
        name: in lower case; part of the names of folders, runs and registered models.
        classes: names of the classes 0, 1, ...; empty for tasks without classes.
        input_shape: shape of an example, without the batch dimension.
        read: reads the official splits from a folder with the raw files; raises DataError.
        files: name -> file to download.
        mirrors: public base URLs; the URL of a file is `<base><file name>`.
        generate: writes the raw files of a data set that is not downloaded to a folder, and returns their paths.
        max_imbalance: largest allowed ratio of the sizes of two classes in an official split.
        origin: what a user's own data is read from, in words; None for a known data set.
        fingerprint: hash of the files that the data set is generated from; None if it never changes.
        task: name of the task; see `mnistflow.tasks.get`.
        preprocessing: how a server converts an image of any size to an input, published with each model: `digit` crops
            to the foreground and centres it as in MNIST, `plain` keeps the frame of the image.
    """

    name: str
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    read: Callable[[Path], OfficialSplits]
    files: Mapping[str, File] = field(default_factory=dict)
    mirrors: tuple[str, ...] = ()
    generate: Callable[[Path], tuple[Path, ...]] | None = None
    max_imbalance: float = 10.0
    origin: str | None = None
    fingerprint: str | None = None
    task: str = IMAGE_CLASSIFICATION
    preprocessing: Preprocessing = "plain"
