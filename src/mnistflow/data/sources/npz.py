"""`.npz` files of official splits: what generated data sets and time series have as raw files."""

from pathlib import Path

import numpy as np

from mnistflow import files, splits
from mnistflow.splits import OfficialSplits, Split, SplitName


def write_splits(folder: Path, train: Split, test: Split) -> tuple[Path, ...]:
    """Write official splits as .npz files, and return their paths. The same splits give the same bytes."""
    return _write_split(folder, "train", train), _write_split(folder, "test", test)


def read_splits(folder: Path) -> OfficialSplits:
    """Return the splits that `write_splits` wrote.

    Raises:
        DataError: a file is missing or damaged.
    """
    return OfficialSplits(splits.load_split(folder, "train"), splits.load_split(folder, "test"))


def _write_split(folder: Path, name: SplitName, split: Split) -> Path:
    path = folder / f"{name}.npz"
    with files.atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, inputs=split.inputs, targets=split.targets)
    return path
