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
    train, test = np.split(standardized(series), [int(TRAIN_FRACTION * len(series))])
    return npz.write_splits(folder, of(train, window), of(test, window))


def standardized(series: NDArray[Any]) -> NDArray[np.float32]:
    """Return the values of a series in units in which its training split has mean 0 and standard deviation 1.

    Those that float32 cannot represent are infinite, or NaN.

    Args:
        series: values `[n]`, in their order; those of the training split differ.
    """
    values = series.astype(np.float64)
    train = values[: int(TRAIN_FRACTION * len(values))]
    with np.errstate(over="ignore", invalid="ignore", divide="ignore", under="ignore"):
        return np.asarray((values - train.mean()) / train.std(), np.float32)
