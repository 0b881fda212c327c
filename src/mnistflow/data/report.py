"""The data report: figures, counts per class, and a picture of samples."""

import csv
from collections import Counter
from hashlib import sha256
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mnistflow import files
from mnistflow.data.splits import Dataset, Split

SAMPLES_PER_CLASS = 16

_GAP = 4  # pixels between two pictures
_CHUNK = 4096  # examples; bincount needs eight bytes a pixel


def write(dataset: Dataset, folder: Path) -> None:
    """Write `data.json`, `classes.csv` and `samples.png` in place of what is in `folder`; same data, same bytes.

    Raises:
        DataError: the place cannot be written.
    """
    with files.atomic_write(folder) as temporary:
        temporary.mkdir()
        files.write_json(temporary / "data.json", figures(dataset))
        _write_class_counts(dataset, temporary / "classes.csv")
        _draw_samples(dataset, temporary / "samples.png")
        files.remove(folder)


def figures(dataset: Dataset) -> dict[str, dict[str, float]]:
    """Return the figures of each split, and how many examples occur in two of them.

    An example is a duplicate if another has exactly its input. Duplicates are counted, never dropped: results on a
    public test split are comparable only as long as it stays whole.
    """
    occurrences = {name: Counter(map(_identity, split.inputs)) for name, split in dataset.splits.items()}
    found: dict[str, dict[str, float]] = {
        name: _split_figures(split) | {"duplicates": len(split) - len(occurrences[name])}
        for name, split in dataset.splits.items()
    }
    found["duplicates"] = {
        f"{one}_{other}": len(occurrences[one].keys() & occurrences[other].keys())
        for one, other in combinations(occurrences, 2)
    }
    return found


def _identity(example: NDArray[np.uint8]) -> bytes:
    return sha256(example.data).digest()


def _split_figures(split: Split) -> dict[str, float]:
    examples = split.inputs.reshape(len(split), -1)
    counts = np.bincount(split.targets)
    mean, std = _pixel_moments(examples)
    return {
        "count": len(split),
        "smallest_class": int(counts.min()),
        "largest_class": int(counts.max()),
        "pixel_mean": round(mean, 4),
        "pixel_std": round(std, 4),
        "blank": int((examples.min(axis=1) == examples.max(axis=1)).sum()),
    }


def _pixel_moments(examples: NDArray[np.uint8]) -> tuple[float, float]:
    """Return mean and standard deviation of all pixels, from their exact histogram."""
    chunks = (examples[start : start + _CHUNK] for start in range(0, len(examples), _CHUNK))
    histogram = sum(np.bincount(chunk.ravel(), minlength=256) for chunk in chunks)
    values = np.arange(256)
    mean = np.average(values, weights=histogram)
    return float(mean), float(np.sqrt(np.average((values - mean) ** 2, weights=histogram)))


def _write_class_counts(dataset: Dataset, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(["class", "split", "count"])
        for name, split in dataset.splits.items():
            counts = np.bincount(split.targets, minlength=len(dataset.classes))
            rows.writerows([label, name, count] for label, count in zip(dataset.classes, counts, strict=True))


def _draw_samples(dataset: Dataset, path: Path) -> None:
    """Draw the first training images of each class, a row a class, with its size in each split at the right."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    mosaic = _mosaic(dataset.train, len(dataset.classes))
    pitch = mosaic.shape[0] / len(dataset.classes)
    rows = np.arange(len(dataset.classes)) * pitch + pitch / 2
    figure = Figure(figsize=(11, 10 * mosaic.shape[0] / mosaic.shape[1] + 0.6), layout="constrained", dpi=110)
    axes = figure.add_subplot()
    axes.imshow(mosaic, cmap="gray_r", vmin=0, vmax=255)
    axes.set_title(f"{dataset.name}: training images of each class", loc="left", pad=12)
    axes.set_xticks([])
    axes.set_yticks(rows, dataset.classes)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    sizes = axes.secondary_yaxis("right")
    sizes.set_yticks(rows, _sizes(dataset), color="dimgray", fontsize="small")
    sizes.tick_params(length=0)
    sizes.spines[:].set_visible(False)
    axes.set_title("train / validation / test", loc="right", color="dimgray", fontsize="small", pad=12)
    # The version of the library in the file would change its bytes.
    FigureCanvasAgg(figure).print_png(path, metadata={"Software": None})


def _mosaic(split: Split, classes: int) -> NDArray[np.uint8]:
    """Return the first images of each class side by side, uint8 `[classes * height, samples * width]` with gaps."""
    height, width = (side + _GAP for side in split.inputs.shape[1:3])
    mosaic = np.zeros((classes * height, SAMPLES_PER_CLASS * width), np.uint8)
    for label in range(classes):
        for position, index in enumerate(np.flatnonzero(split.targets == label)[:SAMPLES_PER_CLASS]):
            top, left = label * height + _GAP // 2, position * width + _GAP // 2
            mosaic[top : top + height - _GAP, left : left + width - _GAP] = split.inputs[index]
    return mosaic


def _sizes(dataset: Dataset) -> list[str]:
    counts = [np.bincount(split.targets, minlength=len(dataset.classes)) for split in dataset.splits.values()]
    return [" / ".join(f"{count:,}" for count in sizes) for sizes in zip(*counts, strict=True)]
