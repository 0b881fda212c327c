"""Charts of trainings and evaluations: learning curves, confusion matrix, calibration, ROC, Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from mnistflow.arrays import Array
from mnistflow.tasks.plots.figures import SHOWN_STEPS, new_figure


def learning_curves(path: Path, history: Mapping[str, Sequence[float]], best_epoch: int) -> None:
    """Plot the training and validation metrics of each epoch; a line marks the best epoch.

    Args:
        path: of the PNG file.
        history: name of a metric -> its value after each epoch.
        best_epoch: from 1.
    """
    from matplotlib.ticker import MaxNLocator

    metrics = [name for name in history if f"val_{name}" in history]
    figure = new_figure(5 * len(metrics), 3.6)
    for number, name in enumerate(metrics, start=1):
        axes = figure.add_subplot(1, len(metrics), number)
        epochs = range(1, len(history[name]) + 1)
        axes.plot(epochs, history[name], marker=".", label="training")
        axes.plot(epochs, history[f"val_{name}"], marker=".", label="validation")
        axes.axvline(best_epoch, linestyle=":", color="grey", label="best")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="epoch", title=name, xlim=(0.5, len(epochs) + 0.5))
        axes.legend()
    figure.savefig(path)


def confusion(path: Path, predicted: Array, targets: Array, classes: tuple[str, ...]) -> None:
    """Plot the confusion matrix. Colours show errors only, so that rare errors are visible."""
    from sklearn.metrics import confusion_matrix

    counts = confusion_matrix(targets, predicted, labels=np.arange(len(classes)))
    errors = counts.astype(float)
    np.fill_diagonal(errors, 0)
    figure = new_figure(1.5 + 0.55 * len(classes), 1.2 + 0.5 * len(classes))
    axes = figure.add_subplot()
    axes.imshow(errors, cmap="Oranges", vmin=0, vmax=max(errors.max(), 1))
    for (row, column), count in np.ndenumerate(counts):
        weight = "bold" if row == column else "normal"
        axes.text(column, row, str(count) if count else "", ha="center", va="center", fontsize=8, fontweight=weight)
    axes.set_xticks(range(len(classes)), classes, rotation=45 if max(map(len, classes)) > 2 else 0)
    axes.set_yticks(range(len(classes)), classes)
    axes.set(xlabel="predicted", ylabel="actual", title=f"{int(errors.sum())} errors in {len(targets)}")
    figure.savefig(path)


def calibration(path: Path, confidence: Array, correct: Array, bins: Array) -> None:
    """Plot a reliability diagram: the accuracy of the predictions in each bin of confidence.

    Args:
        path: of the PNG file.
        confidence: of each prediction, float32 `[n]`.
        correct: whether each prediction is, bool `[n]`.
        bins: index of the bin that each prediction belongs to, `[n]`.
    """
    filled = np.unique(bins)
    figure = new_figure(5, 4)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey", label="perfect")
    axes.plot(
        [confidence[bins == b].mean() for b in filled],
        [correct[bins == b].mean() for b in filled],
        marker="o",
        label="model",
    )
    axes.set(xlabel="confidence", ylabel="accuracy", title="Calibration on the test split", xlim=(0, 1), ylim=(0, 1))
    axes.legend()
    figure.savefig(path)


def roc(path: Path, scores: Array, targets: Array, classes: tuple[str, ...]) -> None:
    """Plot the receiver operating characteristic (ROC) of scores `[n]` of the second class."""
    from sklearn.metrics import auc, roc_curve

    false_positives, true_positives, _ = roc_curve(targets, scores)
    figure = new_figure(5, 4.4)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey", label="chance")
    axes.plot(false_positives, true_positives, label=f"area {auc(false_positives, true_positives):.4f}")
    axes.set(xlabel="false positive rate", ylabel="true positive rate", title=f"ROC curve of class {classes[1]}")
    axes.legend(loc="lower right")
    figure.savefig(path)


def forecast(path: Path, predicted: Array, targets: Array) -> None:
    """Plot true and predicted values over time and against each other, and a histogram of the errors."""
    figure = new_figure(11, 6)
    over_time, cloud, errors = figure.subplot_mosaic([["time", "time"], ["cloud", "errors"]]).values()
    over_time.plot(targets[:SHOWN_STEPS], label="true")
    over_time.plot(predicted[:SHOWN_STEPS], linestyle="--", label="predicted")
    over_time.set(xlabel="step", ylabel="value", title=f"The first of {len(targets):,} test values")
    over_time.legend()
    cloud.scatter(targets, predicted, s=3, alpha=0.4)
    ends = targets.min(), targets.max()
    cloud.plot(ends, ends, linestyle=":", color="grey", label="perfect")
    cloud.set(xlabel="true", ylabel="predicted")
    cloud.legend()
    errors.hist(predicted - targets, bins=40)
    errors.set(xlabel="error", ylabel="test values")
    figure.savefig(path)


def pareto(
    path: Path,
    scores: Mapping[str, tuple[float, tuple[float, float] | None]],
    panels: Sequence[tuple[str, Mapping[str, float], Sequence[str]]],
    metric: str,
) -> None:
    """Plot a metric against costs, on a logarithmic scale, with the Pareto front.

    Args:
        path: of the PNG file.
        scores: name -> value of the metric and its confidence interval.
        panels: for each kind of cost, its label, name -> cost, and the names on the Pareto front, cheapest first.
        metric: name of the metric.
    """
    from matplotlib.ticker import LogLocator, NullFormatter

    figure = new_figure(6 * len(panels), 4.4)
    for number, (label, costs, front) in enumerate(panels, start=1):
        axes = figure.add_subplot(1, len(panels), number)
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
            label="Pareto front",
        )
        axes.set(xscale="log", xlabel=label, ylabel=metric)
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.margins(0.12)
        axes.legend(loc="lower right", fontsize=8)
    figure.suptitle(f"Test {metric} with its 95 % interval, against cost")
    figure.savefig(path, format="png")
