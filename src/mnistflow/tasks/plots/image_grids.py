"""Image grids: plots of wrong predictions and of corrupted images, with captions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mnistflow.arrays import Array, Outputs
from mnistflow.tasks.plots.figures import new_figure

_MISTAKES_PER_ROW = 5
_MIN_COLUMNS = 3  # so that the title fits
_TILE_WIDTH, _TILE_HEIGHT, _TILE_IMAGE = 1.5, 2.0, 1.3  # inches


def worst_mistakes(
    path: Path, images: Array, probabilities: Outputs, targets: Array, classes: tuple[str, ...], count: int
) -> None:
    """Plot the images whose true class has the lowest predicted probability.

    Args:
        path: of the PNG file.
        images: uint8 `[n, height, width]`.
        probabilities: float32 `[n, classes]`.
        targets: class indices `[n]`.
        classes: names of the classes.
        count: largest number of images.
    """
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != targets)
    worst = wrong[np.argsort(probabilities[wrong, targets[wrong]])][:count]
    tiles = []
    for position, index in enumerate(worst):
        confidence = probabilities[index, predicted[index]]
        text = f"{classes[targets[index]]}, predicted {classes[predicted[index]]}\n({confidence:.0%})"
        tiles.append(_Tile(*divmod(position, _MISTAKES_PER_ROW), images[index], text))
    _draw_tiles(path, "The worst mistakes" if len(worst) else "No mistakes", tiles, "gray_r")


def robustness(path: Path, columns: Sequence[tuple[str, Sequence[tuple[str, float, Array]]]], title: str) -> None:
    """Plot one column per corruption and one image per severity, with the metric as coloured caption.

    Args:
        path: of the PNG file.
        columns: name of each corruption, and for each severity its caption, the metric, and an image.
        title: of the plot.
    """
    from matplotlib import colormaps

    tiles = [
        _Tile(row, column, image, f"{score:.1%}", f"{name}\n{caption}", colormaps["RdYlGn"](0.15 + 0.7 * score))
        for column, (name, steps) in enumerate(columns)
        for row, (caption, score, image) in enumerate(steps)
    ]
    _draw_tiles(path, title, tiles, "gray")


@dataclass(frozen=True)
class _Tile:
    """An image with captions.

    Attributes:
        row: of the grid.
        column: of the grid.
        image: uint8 `[height, width]`.
        above: caption above the image.
        below: caption below the image.
        colour: Matplotlib colour behind the caption above.
    """

    row: int
    column: int
    image: Array
    above: str
    below: str = ""
    colour: Any = "none"


def _draw_tiles(path: Path, title: str, tiles: Sequence[_Tile], colours: str) -> None:
    """Plot images side by side on shared axes: with one pair of axes per image, Matplotlib's layout takes seconds."""
    from matplotlib.patches import Rectangle

    columns = max([_MIN_COLUMNS, *(tile.column + 1 for tile in tiles)])
    rows = max((tile.row + 1 for tile in tiles), default=0)
    width, height = columns * _TILE_WIDTH, rows * _TILE_HEIGHT + 0.5
    figure = new_figure(width, height, layout=None)
    axes = figure.add_axes((0, 0, 1, 1))
    for tile in tiles:
        x, y = (tile.column + 0.5) * _TILE_WIDTH, height - 0.5 - (tile.row + 0.5) * _TILE_HEIGHT
        half_height, half_width = np.array(tile.image.shape) / max(tile.image.shape) * _TILE_IMAGE / 2
        extent = (x - half_width, x + half_width, y - half_height, y + half_height)
        axes.imshow(tile.image, cmap=colours, vmin=0, vmax=255, extent=extent)
        axes.add_patch(Rectangle((x - half_width, y - half_height), 2 * half_width, 2 * half_height, fill=False))
        axes.text(x, y + half_height + 0.06, tile.above, fontsize=8, ha="center", backgroundcolor=tile.colour)
        axes.text(x, y - half_height - 0.06, tile.below, fontsize=8, ha="center", va="top")
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    figure.suptitle(title, y=1 - 0.1 / height, va="top")
    figure.savefig(path)
