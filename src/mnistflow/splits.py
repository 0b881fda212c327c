"""Splits of a data set: training, validation and test examples in memory, and the files of stage prepare."""

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

SplitName = Literal["train", "validation", "test", "golden"]
MANIFEST = "dataset.json"


@dataclass(frozen=True, eq=False)
class Split:
    """Examples with their targets.

    Attributes:
        inputs: `[n, *input_shape]`; uint8 for images, else float32.
        targets: `[n]`; class indices, int64, or float32 for tasks without classes.
    """

    inputs: NDArray[Any]
    targets: NDArray[Any]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, rows: slice) -> "Split":
        """Return a range of the examples, without copying them."""
        return Split(self.inputs[rows], self.targets[rows])

    def take(self, indices: NDArray[np.intp]) -> "Split":
        """Return the examples at indices `[k]`, in this order."""
        return Split(self.inputs[indices], self.targets[indices])

    def concatenate(self, other: "Split") -> "Split":
        """Return these examples, followed by the others."""
        return Split(
            np.concatenate([self.inputs, other.inputs]),
            np.concatenate([self.targets, other.targets]),
        )

    def sha256(self) -> str:
        """Return the hexadecimal SHA-256 of the bytes of inputs and targets."""
        digest = hashlib.sha256(np.ascontiguousarray(self.inputs).data)
        digest.update(np.ascontiguousarray(self.targets).data)
        return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class OfficialSplits:
    """The training and test split of a data set's publisher."""

    train: Split
    test: Split


@dataclass(frozen=True, eq=False)
class Dataset:
    """A prepared data set.

    Attributes:
        name: of the data set.
        task: name of the task; see `mnistflow.tasks.get`.
        classes: names of the classes 0, 1, ...; empty for tasks without classes.
        input_shape: shape of an example, without the batch dimension.
        train: training examples.
        validation: examples for the search and early stopping.
        test: the publisher's test split, unchanged; evaluated once per model.
        sha256: name of a split -> hash of its examples.
        data_sha256: hash over all splits.
        feedback: number of training examples from users' feedback, which are the last ones, in the order of time.
        feedback_validation: the same of the validation examples.
        golden: checked examples of users that no training sees; None without a golden set.
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
    feedback: int = 0
    feedback_validation: int = 0
    golden: Split | None = None

    @property
    def official_train(self) -> Split:
        """Training examples of the publisher."""
        return self.train[: len(self.train) - self.feedback]

    @property
    def feedback_train(self) -> Split:
        """Training examples from users' feedback, in the order of time."""
        return self.train[len(self.train) - self.feedback :]

    @property
    def official_validation(self) -> Split:
        """Validation examples of the publisher, shuffled unless they are a time series."""
        return self.validation[: len(self.validation) - self.feedback_validation]

    @property
    def held_out_feedback(self) -> Split:
        """Validation examples from users' feedback, in the order of time."""
        return self.validation[len(self.validation) - self.feedback_validation :]

    @property
    def test_sha256(self) -> str:
        """Hash of the test examples. Scores are comparable only between models that were tested on the same."""
        return self.sha256["test"]

    @property
    def splits(self) -> Mapping[SplitName, Split]:
        """All splits by name; without `golden` if there is no golden set."""
        found: dict[SplitName, Split] = {"train": self.train, "validation": self.validation, "test": self.test}
        return found if self.golden is None else {**found, "golden": self.golden}


def save(dataset: Dataset, folder: Path) -> None:
    """Write an `.npz` file for each split, and `dataset.json`. The same data gives the same bytes."""
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
        "feedback": dataset.feedback,
        "feedback_validation": dataset.feedback_validation,
    }
    files.write_json(folder / MANIFEST, manifest)


def load(prepared: Path) -> Dataset:
    """Return the data set that stage prepare wrote.

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
            feedback=manifest.get("feedback", 0),  # manifests of earlier releases do not count them
            feedback_validation=manifest.get("feedback_validation", 0),
            golden=load_split(prepared, "golden") if "golden" in manifest["sha256"] else None,
        )
    except (KeyError, TypeError) as error:
        raise DataError(
            f"{prepared / MANIFEST} has no valid entry {error}", "Run `mnistflow prepare` again."
        ) from error


def load_split(prepared: Path, name: SplitName) -> Split:
    """Return a split that stage prepare wrote.

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
