"""The data sets this project knows: what each holds, where its files come from, and how they are read.

A new data set is an entry here. One that publishers offer as IDX files needs only lines in `catalog.json`; any other
brings a function that reads its raw files, and, if there is nothing to download, one that makes them.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache, partial
from importlib import resources
from pathlib import Path

from mnistflow.data import digits, idx, own, synthetic
from mnistflow.data.splits import OfficialSplits
from mnistflow.errors import ConfigError

IMAGE_CLASSIFICATION = "image_classification"
OWN_IMBALANCE = 100.0


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


def get(name: str) -> Entry:
    """Return the data set of that name.

    Raises:
        ConfigError: there is none; names those that are known.
    """
    try:
        return entries()[name]
    except KeyError:
        raise ConfigError(f"unknown data set {name!r}", f"Use one of: {', '.join(entries())}.") from None


def described(name: str, classes: tuple[str, ...]) -> Entry:
    """Return the data set whose raw files bear this name: a known one, or a user's own with these classes."""
    return entries().get(name) or Entry(
        name, classes, idx.IMAGE_SHAPE, read=idx.read_splits, max_imbalance=OWN_IMBALANCE
    )


def own_images(name: str, path: Path) -> Entry:
    """Return a user's own data set.

    Raises:
        ConfigError: the name is that of a known data set.
        DataError: there are no usable images at `path`.
    """
    if name in entries():
        raise ConfigError(f"fetch.own.{name}: this is the name of a known data set", "Give yours another name.")
    source = own.find(path)
    return replace(described(name, source.classes), generate=source.write_official_files, fingerprint=source.sha256)


@cache
def entries() -> Mapping[str, Entry]:
    """Return every known data set by its name."""
    published = json.loads(resources.files(__package__).joinpath("catalog.json").read_text(encoding="utf-8"))
    known = [_published_as_idx(name, **facts) for name, facts in published.items()]
    known += [
        Entry("digits", digits.CLASSES, idx.IMAGE_SHAPE, read=idx.read_splits, generate=digits.write_official_files),
        Entry(
            "sine",
            (),
            (synthetic.WINDOW, 1),
            read=synthetic.read_splits,
            generate=synthetic.write_sine,
            task="forecasting",
        ),
        Entry(
            "vectors",
            synthetic.CLASSES,
            (synthetic.FEATURES,),
            read=synthetic.read_splits,
            generate=synthetic.write_vectors,
            task="binary_classification",
        ),
    ]
    return {entry.name: entry for entry in known}


def _published_as_idx(
    name: str, classes: list[str], mirrors: list[str], files: dict[str, dict[str, str | int]]
) -> Entry:
    known = {file_name: File(**facts) for file_name, facts in files.items()}  # type: ignore[arg-type]
    limits = {file_name: file.raw_bytes for file_name, file in known.items()}
    read = partial(idx.read_splits, suffix=".gz", limits=limits)
    return Entry(name, tuple(classes), idx.IMAGE_SHAPE, read=read, files=known, mirrors=tuple(mirrors))
