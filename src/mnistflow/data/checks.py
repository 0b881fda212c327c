"""Data checks: shapes, dtypes, values, labels and class balance of an official split, and classes of a prepared one."""

import numpy as np

from mnistflow import tasks
from mnistflow.data.entry import Entry
from mnistflow.errors import DataError
from mnistflow.splits import Split

_FIX = "Check the raw files and the data set's entry, then run `mnistflow fetch` and `mnistflow prepare` again."


def check(split: Split, entry: Entry, name: str) -> None:
    """Check shapes, dtypes and values of inputs and targets, and the balance of classes.

    Args:
        split: an official split.
        entry: the data set.
        name: of the split, for the error message.

    Raises:
        DataError: a check failed; describes the first.
    """
    problem = (
        _array_problem(split, entry)
        or tasks.get(entry.task).input_problem(split.inputs)
        or (_class_problem(split, entry) if entry.classes else _value_problem(split))
    )
    if problem:
        raise DataError(f"{entry.name}, {name} split: {problem}", _FIX)


def require_every_class(split: Split, entry: Entry, name: str) -> None:
    """Check that a prepared split has examples of each class.

    Args:
        split: a prepared split.
        entry: the data set.
        name: of the split, for the error message.

    Raises:
        DataError: a class has none.
    """
    missing = np.setdiff1d(np.arange(len(entry.classes)), split.targets)
    if len(missing):
        raise DataError(
            f"{entry.name}: class {entry.classes[missing[0]]!r} is too small: the {name} split has no example of it",
            "Add examples of it, or raise prepare.validation_fraction or prepare.train_limit.",
        )


def _array_problem(split: Split, entry: Entry) -> str | None:
    expected = tasks.get(entry.task).example_dtype
    if split.inputs.dtype != expected:
        return f"inputs are {split.inputs.dtype}, not {expected}"
    if split.inputs.shape[1:] != entry.input_shape:
        return f"inputs have shape {list(split.inputs.shape[1:])}, not {list(entry.input_shape)}"
    if split.targets.ndim != 1 or len(split.inputs) != len(split.targets):
        return f"{len(split.inputs)} inputs, but targets have shape {list(split.targets.shape)}"
    return None if len(split) else "no examples"


def _value_problem(split: Split) -> str | None:
    return None if np.isfinite(split.targets).all() else "targets contain values that are not finite"


def _class_problem(split: Split, entry: Entry) -> str | None:
    unknown = np.setdiff1d(split.targets, np.arange(len(entry.classes)))
    if len(unknown):
        return f"label {unknown[0]} is not among the {len(entry.classes)} classes"
    counts = np.bincount(split.targets, minlength=len(entry.classes))
    if not counts.min():
        return f"class {entry.classes[counts.argmin()]!r} has no example"
    if counts.max() > entry.max_imbalance * counts.min():
        most, least = entry.classes[counts.argmax()], entry.classes[counts.argmin()]
        return (
            f"class {most!r} has {counts.max()} examples and {least!r} only {counts.min()}, "
            f"more than {entry.max_imbalance:g} to 1"
        )
    return None
