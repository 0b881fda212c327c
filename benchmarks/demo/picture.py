"""Picture of the quarter: accuracy by week, with the loop and without it, and what the loop did."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path

from demo.quarter import Week

BLUE, GREY, ORANGE, RED, GREEN = "#1f6feb", "#8b949e", "#e36209", "#cf222e", "#1a7f37"
LOWEST, MARKS = -0.12, -0.06  # room for the marks below 0 %


def draw(path: Path, weeks: Sequence[Week]) -> None:
    """Write the picture as a PNG file.

    Args:
        path: of the file.
        weeks: in order.
    """
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(figsize=(11, 4.6), layout="constrained")
    figure.get_layout_engine().set(h_pad=0.12)
    numbers = [week.number for week in weeks]
    axes.plot(numbers, [week.control for week in weeks], "o-", color=GREY, label="without the loop")
    axes.plot(numbers, [week.accuracy for week in weeks], "o-", color=BLUE, linewidth=2.2, label="with the loop")
    marks: Mapping[str, tuple[str, str, Sequence[float]]] = {
        "alarm": ("X", ORANGE, [week.number for week in weeks if week.alarms]),
        "promotion": ("^", GREEN, [week.number + 0.35 for week in weeks if week.promoted]),
        "rollback": ("v", RED, [week.number + 0.6 for week in weeks if week.returned]),
    }
    for name, (marker, color, places) in marks.items():
        axes.plot(places, [MARKS] * len(places), marker, color=color, markersize=8, linestyle="", label=name)
    for shade, (kind, group) in enumerate(groupby(weeks, key=lambda week: week.plan.kind)):
        members = list(group)
        first, last = members[0].number - 0.5, members[-1].number + 0.5
        axes.axvspan(first, last, color="black", alpha=0.05 if shade % 2 else 0, linewidth=0)
        axes.text((first + last) / 2, 1.27, kind.name, ha="center", va="bottom", fontsize=10)
        for place, week in enumerate(members):
            centre = first + 0.5 + place
            inset = axes.inset_axes((centre - 0.32, 1.06, 0.64, 0.2), transform=axes.transData)
            inset.imshow(week.example, cmap="gray", vmin=0, vmax=255)
            inset.set_axis_off()
    axes.set(xlim=(0.5, len(weeks) + 0.7), ylim=(LOWEST, 1.03), xlabel="week", ylabel="accuracy on the week's traffic")
    axes.set_xticks(numbers)
    axes.set_yticks([0, 0.2, 0.4, 0.6, 0.8, 1], ["0 %", "20 %", "40 %", "60 %", "80 %", "100 %"])
    axes.grid(axis="y", alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    figure.savefig(path, dpi=110)
    plt.close(figure)
