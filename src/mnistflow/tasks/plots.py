"""Pictures that explain data and models, drawn with Matplotlib."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from mnistflow.arrays import Array, Outputs

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mnistflow.splits import Dataset, Split

SAMPLES_PER_CLASS = 16
SHOWN_STEPS = 200  # of a series

_MISTAKES_IN_A_ROW = 5
_FEWEST_COLUMNS = 3  # so that the title fits
_TILE_WIDTH, _TILE_HEIGHT, _TILE_IMAGE = 1.5, 2.0, 1.3  # inches

_GAP = 4  # pixels between two pictures
_PLAIN = {"Software": None}  # the version of the library would change the bytes


def examples_of_each_class(path: Path, data: Dataset) -> None:
    """Draw the first training images of each class, a row a class, with its size in each split at the right."""
    mosaic = _mosaic(data.train, len(data.classes))
    pitch = mosaic.shape[0] / len(data.classes)
    rows = np.arange(len(data.classes)) * pitch + pitch / 2
    figure = _figure(11, 10 * mosaic.shape[0] / mosaic.shape[1] + 0.6)
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
    figure.savefig(path, metadata=_PLAIN)


def _mosaic(split: Split, classes: int) -> NDArray[np.uint8]:
    """Return the first images of each class side by side, uint8 `[classes * height, samples * width]` with gaps."""
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
    """Draw the training examples in the plane of their two largest principal components, a colour a class."""
    from sklearn.decomposition import PCA

    places = PCA(2, svd_solver="covariance_eigh").fit_transform(data.train.inputs.astype(np.float64))
    figure = _figure(6, 5)
    axes = figure.add_subplot()
    for label, name in enumerate(data.classes):
        first, second = places[data.train.targets == label].T
        axes.scatter(first, second, s=3, alpha=0.5, label=name)
    axes.set(xlabel="first component", ylabel="second component", title=f"{data.name}: training examples")
    axes.legend()
    figure.savefig(path, metadata=_PLAIN)


def series(path: Path, data: Dataset) -> None:
    """Draw the first values of each split of a series."""
    figure = _figure(10, 6)
    for place, (name, split) in enumerate(data.splits.items(), start=1):
        axes = figure.add_subplot(len(data.splits), 1, place)
        axes.plot(split.targets[:SHOWN_STEPS], marker=".", linewidth=0.8)
        axes.set(ylabel="value", title=f"{data.name}: {name}, the first of {len(split):,} values")
    figure.savefig(path, metadata=_PLAIN)


def forecast(path: Path, predicted: Array, targets: Array) -> None:
    """Draw truth and prediction over time, one against the other, and the distribution of the errors."""
    figure = _figure(11, 6)
    over_time, cloud, errors = figure.subplot_mosaic([["time", "time"], ["cloud", "errors"]]).values()
    over_time.plot(targets[:SHOWN_STEPS], label="truth")
    over_time.plot(predicted[:SHOWN_STEPS], linestyle="--", label="prediction")
    over_time.set(xlabel="step", ylabel="value", title=f"The first of {len(targets):,} test values")
    over_time.legend()
    cloud.scatter(targets, predicted, s=3, alpha=0.4)
    ends = targets.min(), targets.max()
    cloud.plot(ends, ends, linestyle=":", color="grey", label="perfect")
    cloud.set(xlabel="truth", ylabel="prediction")
    cloud.legend()
    errors.hist(predicted - targets, bins=40)
    errors.set(xlabel="prediction - truth", ylabel="test values")
    figure.savefig(path)


def roc(path: Path, scores: Array, targets: Array, classes: tuple[str, ...]) -> None:
    """Draw the receiver operating characteristic of a score `[n]` for the second class."""
    from sklearn.metrics import auc, roc_curve

    false_positives, true_positives, _ = roc_curve(targets, scores)
    figure = _figure(5, 4.4)
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], linestyle=":", color="grey", label="chance")
    axes.plot(false_positives, true_positives, label=f"area {auc(false_positives, true_positives):.4f}")
    axes.set(xlabel="false positives", ylabel="true positives", title=f"Recognizing class {classes[1]}")
    axes.legend(loc="lower right")
    figure.savefig(path)


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
    tiles = []
    for place, index in enumerate(worst):
        said, certainty = classes[predicted[index]], probabilities[index, predicted[index]]
        text = f"{classes[targets[index]]}, read as {said}\n({certainty:.0%} sure)"
        tiles.append(_Tile(*divmod(place, _MISTAKES_IN_A_ROW), images[index], text))
    _draw_tiles(path, "The worst mistakes" if len(worst) else "No mistakes", tiles, "gray_r")


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
    from matplotlib.ticker import MaxNLocator

    measures = [name for name in history if f"val_{name}" in history]
    figure = _figure(5 * len(measures), 3.6)
    for place, name in enumerate(measures, start=1):
        axes = figure.add_subplot(1, len(measures), place)
        epochs = range(1, len(history[name]) + 1)
        axes.plot(epochs, history[name], marker=".", label="training")
        axes.plot(epochs, history[f"val_{name}"], marker=".", label="validation")
        axes.axvline(best_epoch, linestyle=":", color="grey", label="kept")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set(xlabel="epoch", title=name, xlim=(0.5, len(epochs) + 0.5))
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

    tiles = [
        _Tile(row, column, image, f"{score:.1%}", f"{name}\n{caption}", colormaps["RdYlGn"](0.15 + 0.7 * score))
        for column, (name, steps) in enumerate(columns)
        for row, (caption, score, image) in enumerate(steps)
    ]
    _draw_tiles(path, title, tiles, "gray")


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


@dataclass(frozen=True)
class _Tile:
    """An image with words.

    Attributes:
        colour: of the words above, as Matplotlib has it.
    """

    row: int
    column: int
    image: Array
    above: str
    below: str = ""
    colour: Any = "none"


def _draw_tiles(path: Path, title: str, tiles: Sequence[_Tile], colours: str) -> None:
    """Draw images side by side on axes that they share: with axes of their own, the layout takes seconds."""
    from matplotlib.patches import Rectangle

    columns = max([_FEWEST_COLUMNS, *(tile.column + 1 for tile in tiles)])
    rows = max((tile.row + 1 for tile in tiles), default=0)
    width, height = columns * _TILE_WIDTH, rows * _TILE_HEIGHT + 0.5
    figure = _figure(width, height, layout=None)
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


def _figure(width: float, height: float, layout: Literal["constrained"] | None = "constrained") -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), dpi=110, layout=layout)
