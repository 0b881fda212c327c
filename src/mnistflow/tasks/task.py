"""Task: the interface to everything that depends on the kind of learning problem, such as metrics and signature."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnistflow.arrays import Array, Outputs
from mnistflow.errors import ConfigError
from mnistflow.tasks.identity import Headline, Identity

if TYPE_CHECKING:
    import keras

    from mnistflow.models.networks.network import Network
    from mnistflow.splits import Dataset, Split
    from mnistflow.tasks.corruptions import Corruption


@dataclass(frozen=True)
class TensorType:
    """Name, dtype and shape of one input or output of a model, without the batch dimension."""

    name: str
    dtype: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Signature:
    """Name, dtype and shape of a model's input and output, without the batch dimension.

    Inputs `[n, *input_shape]` of a model with several are one structured array `[n]`, with a field for each.

    Attributes:
        further_inputs: all but the first.
    """

    input_name: str
    input_dtype: str
    input_shape: tuple[int, ...]
    output_name: str
    output_shape: tuple[int, ...]
    output_dtype: str = "float32"
    further_inputs: tuple[TensorType, ...] = ()

    @property
    def inputs(self) -> tuple[TensorType, ...]:
        """All inputs."""
        return (TensorType(self.input_name, self.input_dtype, self.input_shape), *self.further_inputs)

    @property
    def output(self) -> TensorType:
        """The output."""
        return TensorType(self.output_name, self.output_dtype, self.output_shape)

    @property
    def takes_images(self) -> bool:
        """Whether inputs are grey-scale images, uint8 `[height, width]`."""
        return self.input_dtype == "uint8" and len(self.input_shape) == 2


@dataclass(frozen=True)
class Parity:
    """Difference between the outputs of the same model in two runtimes.

    Attributes:
        max_gap: largest absolute difference of an output value.
        disagreements: number of examples with different predictions, except ties.
        rows: number of examples compared.
    """

    max_gap: float
    disagreements: int
    rows: int


@dataclass(frozen=True)
class PairedTest:
    """Result of a paired statistical test of a candidate against a champion, on the same examples.

    Attributes:
        name: of the statistical test.
        wins: number of examples that only the candidate predicts correctly, or with the smaller error.
        losses: number of examples that only the champion predicts correctly, or with the smaller error.
        p_value: two-sided probability of a difference at least as large, if both were equally good.
        favours_candidate: direction of the difference.
    """

    name: str
    wins: int
    losses: int
    p_value: float
    favours_candidate: bool


@dataclass(frozen=True)
class Measurement:
    """Metrics of a model's outputs.

    Attributes:
        metrics: name -> value, including the task's headline metric and `loss`.
        by_class: class name -> recall; empty for tasks without classes.
        support: class name -> number of its examples; empty for tasks without classes.
    """

    metrics: Mapping[str, float]
    by_class: Mapping[str, float]
    support: Mapping[str, int]


class Task(ABC):
    """A kind of learning problem.

    Attributes:
        identity: its name, the kind of its models, and its headline metric.
        chronological: whether examples are ordered in time, so that the latest are held out for validation.
        has_class_probabilities: whether outputs are one probability per class.
        generates: whether outputs are new examples, instead of predictions for those of the data set.
        example_dtype: dtype of the data set's inputs.
        rounding: difference of outputs in two runtimes that is explained by their dtype.
    """

    identity: Identity
    chronological = False
    has_class_probabilities = False
    generates = False
    example_dtype = "float32"
    rounding = 0.0

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.identity.name

    @property
    def headline(self) -> Headline:
        """The metric that ranks the models of the task."""
        return self.identity.headline

    @abstractmethod
    def signature(self, input_shape: tuple[int, ...], classes: tuple[str, ...]) -> Signature:
        """Return the signature of models.

        Args:
            input_shape: shape of an example, without the batch dimension.
            classes: names of the classes; empty for tasks without classes.
        """

    def input_problem(self, inputs: Array) -> str | None:
        """Return what is wrong with the values of inputs `[n, *input_shape]`, or None if they are valid."""
        return None if np.isfinite(inputs).all() else "inputs contain values that are not finite"

    def evaluation_split(self, split: Split) -> Split:
        """Return the examples to evaluate a model on for this split: inputs and targets.

        By default the split itself; a generator gets fixed latent vectors.
        """
        return split

    @abstractmethod
    def plot_examples(self, path: Path, data: Dataset) -> None:
        """Plot training examples as PNG; the same data gives the same bytes."""

    def build(self, family: Network, signature: Signature) -> keras.Model:
        """Return an uncompiled model from raw inputs to outputs, which includes the preprocessing.

        Args:
            family: builds the hidden layers.
            signature: of the model.

        Raises:
            ConfigError: networks that predict cannot learn this task.
        """
        raise ConfigError(f"a network such as {type(family).__name__} cannot learn task {self.name}", "Choose another.")

    def to_logits(self, model: keras.Model) -> keras.Model:
        """Return a model that shares the weights of `model` and whose outputs are the logits.

        Raises:
            ConfigError: models of this task have no logits.
        """
        raise ConfigError(f"train.from_logits: a model of task {self.name} has no logits", "Set it to false.")

    def compile(self, model: keras.Model, optimizer: keras.Optimizer, label_smoothing: float = 0.0) -> None:
        """Compile a model, or the result of `to_logits`, with the loss and the metrics of the task.

        Raises:
            ConfigError: label smoothing is set, but the task has no classes; or models of this task have no loss.
        """
        raise ConfigError(f"a model of task {self.name} has no loss of its own", "Choose another family.")

    @abstractmethod
    def compare_outputs(self, expected: Outputs, actual: Outputs, tie: float) -> Parity:
        """Compare the outputs of two runtimes, float32 `[n, *output_shape]`, for the same examples.

        Args:
            expected: outputs of the trained model.
            actual: outputs of the exported model.
            tie: difference of the two largest probabilities up to which different predictions are accepted.
        """

    @abstractmethod
    def measure(self, outputs: Outputs, targets: Array, classes: tuple[str, ...]) -> Measurement:
        """Compute all metrics.

        Args:
            outputs: float32 `[n, *output_shape]`.
            targets: `[n]`.
            classes: names of the classes; empty for tasks without classes.
        """

    def measure_novelty(self, outputs: Outputs, data: Dataset) -> Mapping[str, float]:
        """Return metrics of outputs on the test split that need the training split too; none by default."""
        return {}

    @abstractmethod
    def score(self, outputs: Outputs, targets: Array) -> float:
        """Compute the headline metric only, which is much faster than `measure`."""

    @abstractmethod
    def paired_test(self, candidate: Outputs, champion: Outputs, targets: Array) -> PairedTest:
        """Test whether the errors of a candidate differ from those of a champion.

        Args:
            candidate: outputs, float32 `[n, *output_shape]`.
            champion: outputs for the same examples, float32 `[n, *output_shape]`.
            targets: `[n]`.
        """

    def corruptions(self) -> tuple[Corruption, ...]:
        """Return the corruptions of inputs that robustness is evaluated on; none by default."""
        return ()

    @abstractmethod
    def report(
        self, folder: Path, inputs: Array, outputs: Outputs, targets: Array, classes: tuple[str, ...], mistakes: int
    ) -> None:
        """Write tables and plots of the results into the existing subfolders `tables` and `pictures` of a folder.

        Args:
            folder: of the report.
            inputs: `[n, *input_shape]`.
            outputs: float32 `[n, *output_shape]`.
            targets: `[n]`.
            classes: names of the classes; empty for tasks without classes.
            mistakes: largest number of wrong predictions shown.
        """
