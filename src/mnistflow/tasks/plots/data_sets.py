"""Plots of data sets: examples of each class, principal components, time series."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mnistflow.tasks.plots.figures import SHOWN_STEPS, new_figure

if TYPE_CHECKING:
    from mnistflow.splits import Dataset, Split

SAMPLES_PER_CLASS = 16

_GAP = 4  # pixels between two images
_METADATA = {"Software": None}  # without Matplotlib's version, so that the same data gives the same bytes


def class_examples(path: Path, data: Dataset) -> None:
    """Plot the first training images of each class, one row per class, with the class sizes in each split."""
    mosaic = _mosaic(data.train, len(data.classes))
    pitch = mosaic.shape[0] / len(data.classes)
    rows = np.arange(len(data.classes)) * pitch + pitch / 2
    figure = new_figure(11, 10 * mosaic.shape[0] / mosaic.shape[1] + 0.6)
    axes = figure.add_subplot()
    axes.imshow(mosaic, cmap="gray_r", vmin=0, vmax=255)
    axes.set_title(f"{data.name}: training images of each class", loc="left", pad=12)
    axes.set_xticks([])
    axes.set_yticks(rows, data.classes)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    sizes = axes.secondary_yaxis("right")
    sizes.set_yticks(rows, _sizes(data), color="dimgray", fontsize="small")
    sizes.tick_params(length=0)
    sizes.spines[:].set_visible(False)
    axes.set_title("train / validation / test", loc="right", color="dimgray", fontsize="small", pad=12)
    figure.savefig(path, metadata=_METADATA)


def _mosaic(split: Split, classes: int) -> NDArray[np.uint8]:
    """Return the first images of each class side by side: uint8 `[classes * height, samples * width]`, with gaps."""
    height, width = (side + _GAP for side in split.inputs.shape[1:3])
    mosaic = np.zeros((classes * height, SAMPLES_PER_CLASS * width), np.uint8)
    for label in range(classes):
        for position, index in enumerate(np.flatnonzero(split.targets == label)[:SAMPLES_PER_CLASS]):
            top, left = label * height + _GAP // 2, position * width + _GAP // 2
            mosaic[top : top + height - _GAP, left : left + width - _GAP] = split.inputs[index]
    return mosaic


def _sizes(data: Dataset) -> list[str]:
    counts = [np.bincount(split.targets, minlength=len(data.classes)) for split in data.splits.values()]
    return [" / ".join(f"{count:,}" for count in sizes) for sizes in zip(*counts, strict=True)]


def principal_components(path: Path, data: Dataset) -> None:
    """Plot the first two principal components of the training examples, coloured by class."""
    from sklearn.decomposition import PCA

    components = PCA(2, svd_solver="covariance_eigh").fit_transform(data.train.inputs.astype(np.float64))
    figure = new_figure(6, 5)
    axes = figure.add_subplot()
    for label, name in enumerate(data.classes):
        first, second = components[data.train.targets == label].T
        axes.scatter(first, second, s=3, alpha=0.5, label=name)
    axes.set(xlabel="first component", ylabel="second component", title=f"{data.name}: training examples")
    axes.legend()
    figure.savefig(path, metadata=_METADATA)


def series(path: Path, data: Dataset) -> None:
    """Plot the first values of each split of a time series."""
    figure = new_figure(10, 6)
    for number, (name, split) in enumerate(data.splits.items(), start=1):
        axes = figure.add_subplot(len(data.splits), 1, number)
        axes.plot(split.targets[:SHOWN_STEPS], marker=".", linewidth=0.8)
        axes.set(ylabel="value", title=f"{data.name}: {name}, the first of {len(split):,} values")
    figure.savefig(path, metadata=_METADATA)
