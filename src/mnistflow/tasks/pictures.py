"""Pictures that explain a classifier, drawn with Matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnistflow.tasks.task import Array, Outputs

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def confusion(path: Path, predicted: Array, targets: Array, classes: tuple[str, ...]) -> None:
    """Draw the confusion matrix; colours show the errors only, so that few of them stand out."""
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(targets, predicted, labels=np.arange(len(classes)))
    errors = counts.astype(float)
    np.fill_diagonal(errors, 0)
    figure = _figure(1.5 + 0.55 * len(classes), 1.2 + 0.5 * len(classes))
    axes = figure.add_subplot()
    axes.imshow(errors, cmap="Oranges", vmin=0, vmax=max(errors.max(), 1))
    for (row, column), count in np.ndenumerate(counts):
        weight = "bold" if row == column else "normal"
        axes.text(column, row, str(count) if count else "", ha="center", va="center", fontsize=8, fontweight=weight)
    axes.set_xticks(range(len(classes)), classes, rotation=45 if max(map(len, classes)) > 2 else 0)
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="predicted", ylabel="actual", title=f"{int(errors.sum())} errors in {len(targets)}")
    figure.savefig(path)


def worst_mistakes(
    path: Path, images: Array, probabilities: Outputs, targets: Array, classes: tuple[str, ...], count: int
) -> None:
    """Draw the images whose true class was given the least probability."""
    predicted = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(predicted != targets)
    worst = wrong[np.argsort(probabilities[wrong, targets[wrong]])][:count]
    columns = 5
    rows = max(1, -(-len(worst) // columns))
    figure = _figure(1.5 * columns, 1.75 * rows + 0.4)
    for place, index in enumerate(worst, start=1):
        axes = figure.add_subplot(rows, columns, place)
        axes.imshow(images[index], cmap="gray_r", vmin=0, vmax=255)
        axes.set_axis_off()
        said, certainty = classes[predicted[index]], probabilities[index, predicted[index]]
        axes.set_title(f"{classes[targets[index]]}, read as {said}\n({certainty:.0%} sure)", fontsize=8)
    figure.suptitle("The worst mistakes" if len(worst) else "No mistakes")
    figure.savefig(path)


def calibration(path: Path, probabilities: Outputs, targets: Array) -> None:
    """Draw how often predictions of each confidence are right."""
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == targets
    edges = np.linspace(0, 1, 11)
    bins = np.clip(np.digitize(confidence, edges) - 1, 0, 9)
    filled = [b for b in range(10) if (bins == b).any()]
    figure = _figure(5, 4)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey", label="perfect")
    axes.plot(
        [confidence[bins == b].mean() for b in filled],
        [right[bins == b].mean() for b in filled],
        marker="o",
        label="model",
    )
    axes.set(xlabel="confidence", ylabel="share right", title="Calibration on the test split", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    figure.savefig(path)


def learning_curves(path: Path, history: Mapping[str, Sequence[float]], best_epoch: int) -> None:
    """Draw loss and metric of training and validation by epoch; a line marks the epoch whose weights are kept."""
    measures = [name for name in history if f"val_{name}" in history]
    figure = _figure(5 * len(measures), 3.6)
    for place, name in enumerate(measures, start=1):
        axes = figure.add_subplot(1, len(measures), place)
        epochs = range(1, len(history[name]) + 1)
        axes.plot(epochs, history[name], label="training")
        axes.plot(epochs, history[f"val_{name}"], label="validation")
        axes.axvline(best_epoch, linestyle=":", color="grey", label="kept")
        axes.set(xlabel="epoch", title=name)
        axes.legend()
    figure.savefig(path)


def note(path: Path, text: str) -> None:
    """Draw a text, where there is nothing else to draw: DVC expects every picture."""
    figure = _figure(4.5, 1)
    figure.text(0.5, 0.5, text, ha="center", va="center")
    figure.savefig(path)


def robustness(path: Path, columns: Sequence[tuple[str, Sequence[tuple[str, float, Array]]]], title: str) -> None:
    """Draw a column a corruption, an image a severity; the colour of its caption tells how much of the metric is left.

    Args:
        columns: name of the corruption, and for each severity its caption, the metric, and an image.
    """
    from matplotlib import colormaps

    rows = max(len(steps) for _, steps in columns)
    figure = _figure(1.5 * len(columns), 1.9 * rows + 0.6)
    for column, (name, steps) in enumerate(columns):
        for row, (caption, score, image) in enumerate(steps):
            axes = figure.add_subplot(rows, len(columns), row * len(columns) + column + 1)
            axes.imshow(image, cmap="gray", vmin=0, vmax=255)
            axes.set(xticks=[], yticks=[])
            axes.set_title(f"{score:.1%}", fontsize=10, backgroundcolor=colormaps["RdYlGn"](0.15 + 0.7 * score))
            axes.set_xlabel(f"{name}\n{caption}", fontsize=8)
    figure.suptitle(title)
    figure.savefig(path)


def pareto(
    path: Path,
    scores: Mapping[str, tuple[float, tuple[float, float] | None]],
    panels: Sequence[tuple[str, Mapping[str, float], Sequence[str]]],
    metric: str,
) -> None:
    """Draw a metric against costs on a logarithmic scale.

    Args:
        scores: name -> the metric and its interval.
        panels: what the cost is, name -> cost, and the names on the Pareto front, cheapest first.
    """
    figure = _figure(6 * len(panels), 4.4)
    for place, (label, costs, front) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), place)
        for name, cost in costs.items():
            score, interval = scores[name]
            low, high = interval or (score, score)
            colour = "tab:blue" if name in front else "grey"
            axes.errorbar(cost, score, [[score - low], [high - score]], marker="o", color=colour, capsize=2)
            axes.annotate(name, (cost, score), xytext=(5, 5), textcoords="offset points", fontsize=8, color=colour)
        axes.step(
            [costs[name] for name in front],
            [scores[name][0] for name in front],
            where="post",
            linestyle=":",
            label="no other is better and cheaper",
        )
        axes.set(xscale="log", xlabel=label, ylabel=metric)
        axes.margins(0.12)
        axes.legend(loc="lower right", fontsize=8)
    figure.suptitle(f"Test {metric} with its 95 % interval, against cost")
    figure.savefig(path, format="png")


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout="constrained")
