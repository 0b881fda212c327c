"""Pictures of generated images: grids, and a film."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from mnistflow.arrays import Array
from mnistflow.tasks.plots.figures import new_figure

COLUMNS = 10
SCALE = 2  # of images in a film
FRAME_MILLISECONDS, LAST_MILLISECONDS = 300, 2000


def grid(images: Array, columns: int) -> Array:
    """Return one image of a grid, row by row: uint8 `[rows * height, columns * width]`.

    Args:
        images: uint8 `[n, height, width]`.
        columns: of the grid; the last row is filled up with black.
    """
    count, height, width = images.shape
    rows = -(-count // columns)
    filled = np.zeros((rows * columns, height, width), np.uint8)
    filled[:count] = images
    return filled.reshape(rows, columns, height, width).swapaxes(1, 2).reshape(rows * height, columns * width)


def side_by_side(path: Path, generated: Array, real: Array, labels: Array, classes: tuple[str, ...]) -> None:
    """Plot generated images of each class beside real ones, a row for each class.

    Args:
        path: of the PNG file.
        generated: uint8 `[n, height, width]`.
        real: uint8 `[n, height, width]`.
        labels: class indices of both, `[n]`.
        classes: names of the classes.
    """
    present = [label for label in range(len(classes)) if (labels == label).any()]
    figure = new_figure(11, 0.6 + 0.5 * len(present))
    for number, (title, images) in enumerate((("generated", generated), ("real, of the test split", real)), start=1):
        axes = figure.add_subplot(1, 2, number)
        rows = [grid(_padded(images[labels == label][:COLUMNS]), COLUMNS) for label in present]
        axes.imshow(np.concatenate(rows), cmap="gray_r", vmin=0, vmax=255)
        height = rows[0].shape[0]
        axes.set_yticks([(row + 0.5) * height for row in range(len(rows))], [classes[label] for label in present])
        axes.set_xticks([])
        axes.set_title(title)
    figure.savefig(path)


def write_grid(path: Path, images: Array, columns: int) -> None:
    """Write images as one PNG file, black on white."""
    from PIL import Image

    Image.fromarray(255 - grid(images, columns)).save(path)


def write_film(path: Path, frames: Iterable[Array]) -> None:
    """Write images uint8 `[height, width]`, black on white and magnified, as an animated GIF."""
    from PIL import Image

    pictures = [Image.fromarray(255 - frame).resize([SCALE * side for side in frame.shape[::-1]]) for frame in frames]
    durations = [FRAME_MILLISECONDS] * (len(pictures) - 1) + [LAST_MILLISECONDS]
    pictures[0].save(path, save_all=True, append_images=pictures[1:], duration=durations, loop=0)


def _padded(images: Array) -> Array:
    missing = COLUMNS - len(images)
    return np.concatenate([images, np.zeros((missing, *images.shape[1:]), np.uint8)])
