"""Data sets of grey-scale images: what all tasks on them share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mnistflow.arrays import Array
from mnistflow.tasks.plots import data_sets
from mnistflow.tasks.task import Task

if TYPE_CHECKING:
    from mnistflow.splits import Dataset


class ImageData(Task):
    """A task whose data sets have images uint8 `[n, height, width]`, with classes."""

    example_dtype = "uint8"

    def input_problem(self, inputs: Array) -> str | None:
        return "pixels are at most 1, but should range from 0 to 255" if inputs.max() <= 1 else None

    def plot_examples(self, path: Path, data: Dataset) -> None:
        data_sets.class_examples(path, data)
