"""Windows of a time series, with the value after each."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnistflow.data.sources import npz
from mnistflow.splits import Split

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
    return npz.write_splits(folder, of((train - mean) / deviation, window), of((test - mean) / deviation, window))
