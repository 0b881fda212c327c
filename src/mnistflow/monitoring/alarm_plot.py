"""Plot of an alarm: how statistics of images have moved, and drifted images beside those of the reference."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mnistflow.arrays import Array
from mnistflow.monitoring import drift, statistics
from mnistflow.monitoring.reference import Reference
from mnistflow.tasks.plots.figures import new_figure

HISTOGRAMS = 3
COLUMNS = 12  # images in a row
BINS = 40


def write(path: Path, reference: Reference, images: Array, title: str) -> None:
    """Plot the statistics that have moved most, then images of the reference above images of the traffic.

    The images of the traffic are those that differ most from the reference's in these statistics.

    Args:
        path: of the PNG file.
        reference: of the version that made the predictions.
        images: of the traffic, uint8 `[n, height, width]`.
        title: of the plot.
    """
    found = statistics.of_images(images)
    moved = np.argsort(drift.distances(reference.input_parts, found))[::-1][:HISTOGRAMS]
    figure = new_figure(12, 5.4)
    figure.suptitle(title, fontsize=9, wrap=True)
    grid = figure.add_gridspec(3, COLUMNS, height_ratios=(2.4, 1, 1))
    width = COLUMNS // HISTOGRAMS
    for place, index in enumerate(moved):
        axes = figure.add_subplot(grid[0, place * width : (place + 1) * width])
        both = np.concatenate([reference.inputs[:, index], found[:, index]])
        bins = np.histogram_bin_edges(both, BINS).tolist()
        for values, label in ((reference.inputs[:, index], "reference"), (found[:, index], "traffic")):
            axes.hist(values, bins, density=True, alpha=0.6, label=label)
        axes.set(title=statistics.NAMES[index], yticks=[])
        axes.legend(fontsize=8)
    shown = images[_most_different(reference, found, moved)]
    for row, (label, tiles) in enumerate((("reference", reference.images), ("traffic", shown)), start=1):
        for column, image in enumerate(tiles[:COLUMNS]):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[], ylabel=label if column == 0 else "")
    figure.savefig(path)


def _most_different(reference: Reference, found: Array, columns: Array) -> Array:
    """Return the indices of the images, the one that differs most from the reference first."""
    middle, spread = np.median(reference.inputs, axis=0), reference.inputs.std(axis=0) + statistics.TINY
    return np.argsort(np.abs((found - middle) / spread)[:, columns].mean(axis=1))[::-1]
