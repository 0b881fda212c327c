"""Data report: statistics of each split, counts per class or range of values, and a plot of examples."""

import csv
from collections import Counter
from collections.abc import Iterator
from hashlib import sha256
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnistflow import files, tasks
from mnistflow.splits import Dataset, Split

RANGES = 10  # of values, for counts of targets without classes

_CHUNK = 4096  # examples


def write(dataset: Dataset, folder: Path) -> None:
    """Replace a folder by `data.json`, `targets.csv` and `samples.png`. The same data gives the same bytes.

    Raises:
        DataError: the folder cannot be written.
    """
    with files.atomic_folder(folder) as temporary:
        files.write_json(temporary / "data.json", figures(dataset))
        _write_target_counts(dataset, temporary / "targets.csv")
        tasks.get(dataset.task).plot_examples(temporary / "samples.png", dataset)


def figures(dataset: Dataset) -> dict[str, dict[str, float]]:
    """Return statistics of each split, and the number of duplicates between splits.

    Examples with identical inputs are duplicates. They are counted but not removed: results on a public test split are
    comparable only if it is unchanged.
    """
    occurrences = {name: Counter(map(_identity, split.inputs)) for name, split in dataset.splits.items()}
    found: dict[str, dict[str, float]] = {
        name: _split_figures(split, dataset.classes) | {"duplicates": len(split) - len(occurrences[name])}
        for name, split in dataset.splits.items()
    }
    found["duplicates"] = {
        f"{one}_{other}": len(occurrences[one].keys() & occurrences[other].keys())
        for one, other in combinations(occurrences, 2)
    }
    return found


def _identity(example: NDArray[Any]) -> bytes:
    return sha256(example.data).digest()


def _split_figures(split: Split, classes: tuple[str, ...]) -> dict[str, float]:
    examples = split.inputs.reshape(len(split), -1)
    mean, std = _moments(examples)
    return {
        "count": len(split),
        **_target_figures(split, classes),
        "input_mean": round(mean, 4),
        "input_std": round(std, 4),
        "blank": int((examples.min(axis=1) == examples.max(axis=1)).sum()),
    }


def _target_figures(split: Split, classes: tuple[str, ...]) -> dict[str, float]:
    if not classes:
        mean, std = _moments(split.targets)
        return {"target_mean": round(mean, 4), "target_std": round(std, 4)}
    counts = np.bincount(split.targets, minlength=len(classes))
    return {"smallest_class": int(counts.min()), "largest_class": int(counts.max())}


def _moments(examples: NDArray[Any]) -> tuple[float, float]:
    """Return mean and standard deviation of all values, computed in chunks to limit memory."""
    sums = np.zeros(2)
    for start in range(0, len(examples), _CHUNK):
        chunk = examples[start : start + _CHUNK].astype(np.float64)
        sums += chunk.sum(), (chunk**2).sum()
    mean, square = sums / examples.size
    return float(mean), float(np.sqrt(max(square - mean**2, 0.0)))


def _write_target_counts(dataset: Dataset, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(["target", "split", "count"])
        rows.writerows(_target_counts(dataset))


def _target_counts(dataset: Dataset) -> Iterator[tuple[str, str, int]]:
    """Yield target, split and count, where a target is a class or a range of values."""
    names = dataset.classes
    edges = np.arange(len(names) + 1) - 0.5
    if not names:
        edges = np.histogram_bin_edges(np.concatenate([split.targets for split in dataset.splits.values()]), RANGES)
        names = tuple(f"{low:.3g} to {high:.3g}" for low, high in pairwise(edges))
    for split_name, split in dataset.splits.items():
        counts, _ = np.histogram(split.targets, edges)
        yield from ((name, split_name, int(count)) for name, count in zip(names, counts, strict=True))
