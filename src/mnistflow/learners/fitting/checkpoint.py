"""Checkpoint of a training: its state after an epoch, from which an interrupted training resumes bit for bit.

A checkpoint folder contains one folder per epoch, of which only the newest is kept. Each is written atomically, so a
process killed at any moment leaves the previous one complete.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistflow.arrays import Array
from mnistflow.files import atomic_folder, read_json, remove, write_json
from mnistflow.learners.learner import History

if TYPE_CHECKING:
    import keras


@dataclass(frozen=True)
class Checkpoint:
    """The state of a training after an epoch.

    Attributes:
        epoch: number of epochs trained.
        variables: all values that the next epoch depends on, in the order in which the training restores them.
        best_weights: weights of the best epoch so far, in the order of `keras.Model.get_weights`.
        history: metrics of all epochs so far.
        seconds: time spent training so far.
    """

    epoch: int
    variables: list[Array]
    best_weights: list[Array]
    history: History
    seconds: float


def variables_of(model: keras.Model) -> list[Any]:
    """Return all variables that the next epoch depends on: weights, states of dropout's generators, the optimizer's."""
    model.optimizer.build(model.trainable_variables)
    return [*model.variables, *model.optimizer.variables]


def write(folder: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint into a checkpoint folder, and remove the older ones.

    Raises:
        DataError: the folder cannot be written.
    """
    with atomic_folder(folder / f"epoch-{checkpoint.epoch:04d}") as temporary:
        np.savez(temporary / "last.npz", *checkpoint.variables)
        np.savez(temporary / "best.npz", *checkpoint.best_weights)
        write_json(temporary / "history.json", {"history": checkpoint.history, "seconds": checkpoint.seconds})
    for older in _epoch_folders(folder)[:-1]:
        remove(older)


def read(folder: Path) -> Checkpoint | None:
    """Return the newest checkpoint of a checkpoint folder, or None if it has none.

    Raises:
        DataError: `history.json` of the checkpoint is missing or damaged.
    """
    epochs = _epoch_folders(folder)
    if not epochs:
        return None
    newest = epochs[-1]
    return Checkpoint(
        epoch=int(newest.name.removeprefix("epoch-")),
        variables=_read_arrays(newest / "last.npz"),
        best_weights=_read_arrays(newest / "best.npz"),
        **read_json(newest / "history.json"),
    )


def _epoch_folders(folder: Path) -> list[Path]:
    return sorted(folder.glob("epoch-[0-9]*")) if folder.is_dir() else []


def _read_arrays(path: Path) -> list[Array]:
    with np.load(path) as arrays:
        return [arrays[name] for name in arrays.files]
