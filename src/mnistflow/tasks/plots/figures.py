"""Figures of Matplotlib: what all plots share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHOWN_STEPS = 200  # of a time series


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    """Return an empty figure; width and height in inches."""
    import matplotlib
    from matplotlib.figure import Figure

    matplotlib.rcParams["text.parse_math"] = False  # class names may contain dollar signs
    return Figure(figsize=(width, height), dpi=110, layout=layout)


def note(path: Path, text: str) -> None:
    """Plot a text instead of missing results, because DVC expects each plot to exist."""
    figure = new_figure(4.5, 1)
    figure.text(0.5, 0.5, text, ha="center", va="center")
    figure.savefig(path)
