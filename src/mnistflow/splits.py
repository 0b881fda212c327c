"""The splits of a data set, in memory and in the folder that prepare leaves to the later stages."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from mnistflow import files
from mnistflow.errors import DataError

SplitName = Literal["train", "validation", "test"]
MANIFEST = "dataset.json"


@dataclass(frozen=True, eq=False)
class Split:
    """Examples with their targets.

    Attributes:
        inputs: `[n, *input_shape]`; images are uint8, everything else float32.
        targets: `[n]`: indices into the classes, int64; without classes numbers, float32.
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]

    def __len__(self) -> int:
        return len(self.targets)

    def take(self, indices: NDArray[np.intp]) -> "Split":
        """Return the examples at these positions, in this order."""
        return Split(self.inputs[indices], self.targets[indices])

    def sha256(self) -> str:
        """Return the hexadecimal sha256 of the bytes of the inputs, then of the targets."""
        digest = hashlib.sha256(np.ascontiguousarray(self.inputs).data)
        digest.update(np.ascontiguousarray(self.targets).data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class OfficialSplits:
    """A data set as its publisher split it."""

    train: Split
    test: Split


@dataclass(frozen=True, eq=False)
class Dataset:
    """A data set, checked and split.

    Attributes:
        name: of the data set.
        task: what is learned from it.
        classes: what the targets 0, 1, ... mean; empty where targets are numbers.
        input_shape: of one example.
        train: what models are fitted to.
        validation: what the search and early stopping look at.
        test: the publisher's test split, untouched; a model is judged on it once.
        sha256: of each split, by its name.
        data_sha256: of all splits.
    """

    name: str
    task: str
    classes: tuple[str, ...]
    input_shape: tuple[int, ...]
    train: Split
    validation: Split
    test: Split
    sha256: Mapping[SplitName, str]
    data_sha256: str

    @property
    def test_sha256(self) -> str:
        return self.sha256["test"]

    @property
    def splits(self) -> Mapping[SplitName, Split]:
        return {"train": self.train, "validation": self.validation, "test": self.test}


def save(dataset: Dataset, folder: Path) -> None:
    """Write `train.npz`, `validation.npz`, `test.npz` and `dataset.json`; the same data gives the same bytes."""
    for name, split in dataset.splits.items():
        np.savez(folder / f"{name}.npz", inputs=split.inputs, targets=split.targets)
    manifest = {
        "name": dataset.name,
        "task": dataset.task,
        "classes": dataset.classes,
        "input_shape": dataset.input_shape,
        "counts": {name: len(split) for name, split in dataset.splits.items()},
        "sha256": dict(dataset.sha256),
        "data_sha256": dataset.data_sha256,
    }
    files.write_json(folder / MANIFEST, manifest)


def load(prepared: Path) -> Dataset:
    """Return what prepare wrote.

    Raises:
        DataError: a file is missing or damaged.
    """
    manifest = files.read_json(prepared / MANIFEST)
    try:
        return Dataset(
            name=manifest["name"],
            task=manifest["task"],
            classes=tuple(manifest["classes"]),
            input_shape=tuple(manifest["input_shape"]),
            train=load_split(prepared, "train"),
            validation=load_split(prepared, "validation"),
            test=load_split(prepared, "test"),
            sha256=manifest["sha256"],
            data_sha256=manifest["data_sha256"],
        )
    except (KeyError, TypeError) as error:
        raise DataError(f"{prepared / MANIFEST} has no valid {error}", "Run `mnistflow prepare` again.") from error


def load_split(prepared: Path, name: SplitName) -> Split:
    """Return one split of what prepare wrote.

    Raises:
        DataError: its file is missing or damaged.
    """
    path = prepared / f"{name}.npz"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return Split(arrays["inputs"], arrays["targets"])
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing", "Run `mnistflow prepare`.") from error
    except (OSError, EOFError, KeyError, TypeError, ValueError, BadZipFile) as error:
        raise DataError(f"{path} is damaged: {error}", "Run `mnistflow prepare` again.") from error
