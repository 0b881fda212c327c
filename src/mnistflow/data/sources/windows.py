"""Files of generated examples, and windows of a time series with the value after each."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnistflow import files, splits
from mnistflow.splits import OfficialSplits, Split, SplitName

TRAIN_FRACTION = 0.8  # of a real series; the later values are the test split


def of(series: NDArray[Any], window: int) -> Split:
    """Return all windows of a series, float32 `[n, window, 1]`, and the value after each, float32 `[n]`.

    Args:
        series: values `[n + window]`, in their order.
        window: number of values that a forecast is computed from.
    """
    values = series.astype(np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(values, window)[:-1]
    return Split(np.ascontiguousarray(windows[..., np.newaxis]), values[window:])


def write_series(folder: Path, series: NDArray[Any], window: int) -> tuple[Path, ...]:
    """Write windows of a real series as official splits, and return the paths.

    The values are standardized: the first `TRAIN_FRACTION` of them, which are the training split, have mean 0 and
    standard deviation 1. The splits share no values.

    Args:
        folder: for the raw files.
        series: values `[n]`, in their order; those of the training split differ.
        window: number of values that a forecast is computed from.
    """
    train, test = np.split(series.astype(np.float64), [int(TRAIN_FRACTION * len(series))])
    mean, deviation = train.mean(), train.std()
    return write(folder, of((train - mean) / deviation, window), of((test - mean) / deviation, window))


def write(folder: Path, train: Split, test: Split) -> tuple[Path, ...]:
    """Write official splits as .npz files, and return their paths. The same splits give the same bytes."""
    return _write_split(folder, "train", train), _write_split(folder, "test", test)


def read_splits(folder: Path) -> OfficialSplits:
    """Return the splits that `write` wrote.

    Raises:
        DataError: a file is missing or damaged.
    """
    return OfficialSplits(splits.load_split(folder, "train"), splits.load_split(folder, "test"))


def _write_split(folder: Path, name: SplitName, split: Split) -> Path:
    path = folder / f"{name}.npz"
    with files.atomic_write(path) as temporary, temporary.open("wb") as stream:
        np.savez(stream, inputs=split.inputs, targets=split.targets)
    return path
