"""Entry of a data set: its classes and shape, its files, and how they are read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from mnistflow.splits import OfficialSplits

IMAGE_CLASSIFICATION = "image_classification"

Preprocessing = Literal["digit", "plain"]


@dataclass(frozen=True)
class File:
    """A file of a data set, as its publisher made it.

    Attributes:
        bytes: size of the file.
        sha256: of the file.
        md5: of the file, as other libraries publish it.
        raw_bytes: size of what is in it, decompressed.
        raw_sha256: of what is in it, decompressed; None where it was never seen. `kmnist` could not be fetched where
            this was written: its sizes and sha256 are those of TensorFlow Datasets (`datasets/kmnist/checksums.tsv`),
            its md5 those of torchvision.
    """

    bytes: int
    sha256: str
    md5: str
    raw_bytes: int
    raw_sha256: str | None = None


@dataclass(frozen=True)
class Entry:
    """A data set.

    Attributes:
        name: lower case; names folders, runs and registered models.
        classes: what the targets 0, 1, ... mean; empty where targets are numbers.
        input_shape: of one example.
        read: returns the official splits from a folder with the raw files; raises DataError.
        files: what to download, by file name.
        mirrors: public base URLs; a file lies at `<base><file name>`.
        generate: for a data set that is not downloaded: writes its raw files to a folder and returns their paths.
        max_imbalance: how many times larger than the smallest class the largest may be, per official split.
        fingerprint: changes when what it is made from does; None for one that never changes.
        task: what is learned from it, by its name in `mnistflow.tasks`.
        preprocessing: how a server turns a picture of any size into an input, published with each model: `digit`
            crops to the ink and centres it as MNIST does, `plain` keeps the picture's frame.
    """

    name: str
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    read: Callable[[Path], OfficialSplits]
    files: Mapping[str, File] = field(default_factory=dict)
    mirrors: tuple[str, ...] = ()
    generate: Callable[[Path], tuple[Path, ...]] | None = None
    max_imbalance: float = 10.0
    fingerprint: str | None = None
    task: str = IMAGE_CLASSIFICATION
    preprocessing: Preprocessing = "plain"
