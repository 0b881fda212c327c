"""Picture of reports: their images, each with its key, the reported label and the model's answer."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mnistflow import files
from mnistflow.data.feedback.reports import Report
from mnistflow.tasks.plots.figures import new_figure

COLUMNS = 8
MAX_SHOWN = 200
INCHES = 1.5  # width and height of an image with its text


def draw(path: Path, reports: Sequence[Report]) -> None:
    """Plot at most `MAX_SHOWN` reports, at least one.

    Args:
        path: of the PNG file.
        reports: uint8 images with their labels.

    Raises:
        DataError: the file cannot be written.
    """
    shown = reports[:MAX_SHOWN]
    rows = -(-len(shown) // COLUMNS)
    figure = new_figure(COLUMNS * INCHES, rows * INCHES)
    for axes, report in zip(figure.subplots(rows, COLUMNS, squeeze=False).flat, shown, strict=False):
        axes.imshow(report.image, cmap="gray", vmin=0, vmax=255)
        axes.set_title(f"{report.key}\n{report.answered} → {report.class_name}", fontsize=5)
    for axes in figure.axes:
        axes.set_axis_off()
    with files.atomic_write(path) as temporary:
        figure.savefig(temporary, format="png", dpi=150)
