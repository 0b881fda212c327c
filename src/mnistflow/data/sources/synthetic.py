"""Synthetic data sets, generated with a fixed seed: a noisy sine, and feature vectors of two classes."""

from pathlib import Path

import numpy as np

from mnistflow.data.sources import npz, windows
from mnistflow.splits import Split

WINDOW = 10  # values of the series that a forecast is computed from
PERIOD = 25.0  # of the sine, in steps
NOISE = 0.05  # standard deviation; its square is the smallest possible mean squared error
FEATURES = 100
CLASSES = ("first", "second")

_SEED = 0
_SERIES = {"train": 5000, "test": 1000}  # number of values
_VECTORS = {"train": 8000, "test": 2000}  # number of examples


def write_sine(folder: Path) -> tuple[Path, ...]:
    """Write windows of a noisy sine and the value after each, float32 `[n, 10, 1]` and `[n]`, and return the paths.

    The test split is the later part of the series and shares no values with the training split.
    """
    steps = np.arange(sum(_SERIES.values()))
    noise = np.random.default_rng(_SEED).normal(0, NOISE, len(steps))
    train, test = np.split(np.sin(2 * np.pi * steps / PERIOD) + noise, [_SERIES["train"]])
    return npz.write_splits(folder, windows.of(train, WINDOW), windows.of(test, WINDOW))


def write_vectors(folder: Path) -> tuple[Path, ...]:
    """Write vectors of two classes, float32 `[n, 100]`, and class indices `[n]`, and return the paths.

    The source is `sklearn.datasets.make_classification` (after Guyon, Design of experiments for the NIPS 2003 variable
    selection benchmark): 20 features are informative, 20 are linear combinations of these, and 60 are noise.
    """
    from sklearn.datasets import make_classification

    vectors, labels = make_classification(
        sum(_VECTORS.values()), FEATURES, n_informative=20, n_redundant=20, class_sep=2.0, random_state=_SEED
    )
    examples = Split((vectors / vectors.std(axis=0)).astype(np.float32), labels.astype(np.int64))
    order = np.arange(len(examples))
    count = _VECTORS["train"]
    return npz.write_splits(folder, examples.take(order[:count]), examples.take(order[count:]))
