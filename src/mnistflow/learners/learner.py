"""Learner: the interface that stages use to fit, save, load, run and convert the models of any family."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import numpy as np

from mnistflow import tasks
from mnistflow.arrays import Array, Outputs
from mnistflow.errors import ConfigError
from mnistflow.learners.config import LearningConfig, TrainConfig
from mnistflow.models.family import Family
from mnistflow.splits import Dataset
from mnistflow.tasks.task import Signature

if TYPE_CHECKING:
    import onnx

MONITORED = "val_loss"  # the metric that early stopping, the search and the choice of the best epoch minimize

History = dict[str, list[float]]
OnEpoch = Callable[[int, Mapping[str, float]], None]
Parameters = TypeVar("Parameters", bound=Family)


@dataclass(frozen=True)
class Training:
    """A finished training.

    Attributes:
        model: the fitted model, of a type that only its learner knows. A network has the weights of the best epoch.
        history: name of a metric -> its value after each epoch; one value if the learner has no epochs.
        best_epoch: number of the best epoch, from 1.
        parameters: number of the model's parameters.
        seconds: time spent fitting, including that before an interruption.
    """

    model: Any
    history: History
    best_epoch: int
    parameters: int
    seconds: float

    @classmethod
    def single_epoch(cls, model: Any, metrics: Mapping[str, float], parameters: int, seconds: float) -> Self:
        """Return the training of a model that is fitted without epochs."""
        return cls(model, {name: [value] for name, value in metrics.items()}, 1, parameters, seconds)

    @property
    def best(self) -> dict[str, float]:
        """Metrics of the best epoch, whose weights the model has."""
        return {name: values[self.best_epoch - 1] for name, values in self.history.items()}


class Learner(ABC, Generic[Parameters]):
    """A way to fit models, shared by all families that name it in `Family.learner`.

    The type of a model is known to its learner only.
    """

    def pin(self, config: LearningConfig, dataset: str) -> dict[str, Any]:
        """Return overrides, by dotted key, that fix the external inputs of a training before the run starts.

        Raises:
            ConfigError: a warm start or a distillation is configured, which only networks support.
            MnistflowError: an external input is missing.
        """
        if config.train.warm_start is not None:
            raise ConfigError(
                f"train.warm_start: family {config.model.family} cannot continue an earlier model", "Set it to null."
            )
        if config.train.distillation.teacher is not None:
            raise ConfigError(
                f"train.distillation.teacher: family {config.model.family} cannot learn from a teacher",
                "Set it to null.",
            )
        return {}

    def require(self, family: Parameters, config: TrainConfig) -> None:
        """Check that everything `fit` needs is configured and installed.

        Raises:
            ConfigError: a parameter is missing, or a package is not installed.
        """

    def prepare(self, config: TrainConfig) -> None:
        """Import the libraries that `fit` needs and set their threads. Called once per process."""

    def max_epochs(self, config: TrainConfig) -> int:
        """Return the largest number of epochs of a training."""
        return 1

    def effective(self, config: TrainConfig, examples: int) -> dict[str, Any]:
        """Return the parameters, by dotted key, that a training on this number of examples derives from its data."""
        return {}

    @abstractmethod
    def fit(
        self,
        data: Dataset,
        family: Parameters,
        config: TrainConfig,
        on_epoch: OnEpoch,
        checkpoint_folder: Path | None = None,
    ) -> Training:
        """Fit a model to the training split. The validation split is only evaluated, the test split not used.

        Args:
            data: a prepared data set.
            family: the family's parameters.
            config: section `train` of params.yaml.
            on_epoch: called with the number of the epoch, from 1, and its metrics; an exception ends the training.
            checkpoint_folder: where a learner with epochs writes a checkpoint after each, and resumes from the newest.

        Raises:
            MnistflowError: the parameters do not fit the data.
        """

    @abstractmethod
    def save(self, model: Any, folder: Path) -> None:
        """Write a fitted model into an existing folder."""

    @abstractmethod
    def load(self, folder: Path) -> Any:
        """Return the model that `save` wrote."""

    def write_plots(self, model: Any, folder: Path) -> None:
        """Write plots of a fitted model and of its training into an existing folder; none by default."""

    @abstractmethod
    def predict(self, model: Any, inputs: Array) -> Outputs:
        """Return outputs, float32 `[n, *output_shape]`, for raw inputs `[n, *input_shape]`."""

    @abstractmethod
    def convert(self, model: Any, signature: Signature, opset: int) -> onnx.ModelProto:
        """Return the model as an ONNX graph from raw inputs to outputs, named as in the signature.

        Args:
            model: a fitted model.
            signature: names, dtypes and shapes of input and output.
            opset: version of ONNX's default operator set.
        """


def measure(data: Dataset, predict: Callable[[Array], Outputs]) -> dict[str, float]:
    """Return headline metric and loss on training and validation examples, named as in Keras (`loss`, `val_loss`).

    The training metrics are those of a random sample, as large as the validation split.

    Args:
        data: a prepared data set.
        predict: maps inputs `[n, *input_shape]` to outputs `[n, *output_shape]`.
    """
    task = tasks.get(data.task)
    order = np.random.default_rng(0).permutation(len(data.train))
    measured: dict[str, float] = {}
    for prefix, split in (("", data.train.take(order[: len(data.validation)])), ("val_", data.validation)):
        metrics = task.measure(predict(split.inputs), split.targets, data.classes).metrics
        measured |= {f"{prefix}{name}": metrics[name] for name in (task.headline.name, "loss")}
    return measured
