"""What the stages ask of a way to learn: fit a model, keep it, compute with it, and turn it into ONNX."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import numpy as np

from mnistflow import tasks
from mnistflow.arrays import Array, Outputs
from mnistflow.learners.config import TrainConfig
from mnistflow.models.family import Family
from mnistflow.splits import Dataset
from mnistflow.tasks.task import Signature

if TYPE_CHECKING:
    import onnx

WATCHED = "val_loss"

History = dict[str, list[float]]
OnEpoch = Callable[[int, Mapping[str, float]], None]
Parameters = TypeVar("Parameters", bound=Family)


@dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes:
        model: what the learner makes; of a network, with the weights of the best epoch.
        history: measure -> one value an epoch; a single one where nothing is learned in epochs.
        best_epoch: counted from 1.
        parameters: how many numbers the model consists of.
        seconds: spent fitting, over all starts.
    """

    model: Any
    history: History
    best_epoch: int
    parameters: int
    seconds: float

    @classmethod
    def in_one_go(cls, model: Any, measures: Mapping[str, float], parameters: int, seconds: float) -> Self:
        """Return the training of a model that is not learned in epochs."""
        return cls(model, {name: [value] for name, value in measures.items()}, 1, parameters, seconds)

    @property
    def best(self) -> dict[str, float]:
        """Values of the epoch whose weights are kept: what early stopping makes of the last ones is no measure."""
        return {name: values[self.best_epoch - 1] for name, values in self.history.items()}


class Learner(ABC, Generic[Parameters]):
    """A way to learn, shared by the families that name it. What its models are, only the learner knows."""

    def pin(self, family: Parameters, dataset: str) -> dict[str, Any]:
        """Return parameters, by dotted key, that make definite what a run depends on beside the data; before the run.

        Raises:
            MnistflowError: something it depends on is not there.
        """
        return {}

    def require(self, family: Parameters, config: TrainConfig) -> None:
        """Check, before anything else is done, that fitting has what it needs.

        Raises:
            ConfigError: something is not named, or not installed.
        """

    def prepare(self, config: TrainConfig) -> None:
        """Load what fitting needs, with its threads; once a process, before the first use."""

    def max_epochs(self, config: TrainConfig) -> int:
        """Return after how many epochs a training ends at the latest."""
        return 1

    @abstractmethod
    def fit(
        self, data: Dataset, family: Parameters, config: TrainConfig, on_epoch: OnEpoch, journal: Path | None = None
    ) -> Training:
        """Fit to the training split; look at the validation split, and never at the test split.

        Args:
            on_epoch: called with the epoch, from 1, and its measures; an exception ends the training.
            journal: folder for the state after each epoch, where there are several; a training found there goes on.

        Raises:
            MnistflowError: the data or the parameters do not allow it.
        """

    @abstractmethod
    def save(self, model: Any, folder: Path) -> None:
        """Write a fitted model into an existing folder."""

    @abstractmethod
    def load(self, folder: Path) -> Any:
        """Return what `save` wrote."""

    @abstractmethod
    def predict(self, model: Any, inputs: Array) -> Outputs:
        """Return the outputs, float32 `[n, *output_shape]`, of raw inputs `[n, *input_shape]`."""

    @abstractmethod
    def convert(self, model: Any, signature: Signature, opset: int) -> onnx.ModelProto:
        """Return the model as an ONNX graph from raw inputs to outputs, with the names of the signature."""


def judge(data: Dataset, predict: Callable[[Array], Outputs]) -> dict[str, float]:
    """Return headline metric and loss on training and validation examples, named as Keras names them.

    Of the training examples as many are taken as there are for validation.
    """
    task = tasks.get(data.task)
    order = np.random.default_rng(0).permutation(len(data.train))
    measures: dict[str, float] = {}
    for prefix, split in (("", data.train.take(order[: len(data.validation)])), ("val_", data.validation)):
        metrics = task.measure(predict(split.inputs), split.targets, data.classes, bins=1).metrics
        measures |= {f"{prefix}{name}": metrics[name] for name in (task.headline.name, "loss")}
    return measures
