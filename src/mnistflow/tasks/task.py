"""What the pipeline asks of a task; stages, registry, gate and flows know nothing else about it."""

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

    from mnistflow.models.family import Network
    from mnistflow.splits import Dataset
    from mnistflow.tasks.corruptions import Corruption


@dataclass(frozen=True)
class Signature:
    """Names, types and shapes of a model's input and output, without the batch dimension."""

    input_name: str
    input_dtype: str
    input_shape: tuple[int, ...]
    output_name: str
    output_shape: tuple[int, ...]

    @property
    def takes_images(self) -> bool:
        """Whether an input is a grey image: bytes in rows and columns."""
        return self.input_dtype == "uint8" and len(self.input_shape) == 2


@dataclass(frozen=True)
class Parity:
    """How far two computations of the same model are apart.

    Attributes:
        max_gap: largest absolute difference of any output value.
        disagreements: rows whose prediction differs, ties aside.
    """

    max_gap: float
    disagreements: int
    rows: int


@dataclass(frozen=True)
class PairedTest:
    """A candidate against a champion on the same rows.

    Attributes:
        name: of the statistical test.
        wins: rows that the candidate alone gets right, or where it is closer.
        losses: rows that the champion alone gets right, or where it is closer.
        p_value: probability of so large a difference, two-sided, if both were equally good.
        favours_candidate: the direction of the difference that the test finds.
    """

    name: str
    wins: int
    losses: int
    p_value: float
    favours_candidate: bool


@dataclass(frozen=True)
class Measurement:
    """A model's outputs judged against the targets.

    Attributes:
        metrics: name -> value, flat; holds the task's headline metric and `loss`.
        by_class: class name -> recall; empty where a task has no classes.
    """

    metrics: Mapping[str, float]
    by_class: Mapping[str, float]


class Task(ABC):
    """A kind of learning problem.

    Attributes:
        identity: its name, what its models are called, and its headline metric.
        chronological: examples follow one another in time, so that only the latest may be held out.
        asks_for_each_class: outputs are a probability for each class.
    """

    identity: Identity
    chronological = False
    asks_for_each_class = False

    @property
    def name(self) -> str:
        return self.identity.name

    @property
    def headline(self) -> Headline:
        return self.identity.headline

    @abstractmethod
    def signature(self, input_shape: tuple[int, ...], classes: tuple[str, ...]) -> Signature:
        """Return what a model of this task takes and gives."""

    def wrong_inputs(self, inputs: Array) -> str | None:
        """Return what is wrong with the values of inputs of the right type and shape, if anything is."""
        return None if np.isfinite(inputs).all() else "inputs hold values that are no finite numbers"

    @abstractmethod
    def draw_examples(self, path: Path, data: Dataset) -> None:
        """Draw a picture of the training examples; the same data gives the same bytes."""

    @abstractmethod
    def build(self, family: Network, signature: Signature) -> keras.Model:
        """Return an uncompiled model with the preprocessing inside: raw inputs to outputs."""

    def to_logits(self, model: keras.Model) -> keras.Model:  # noqa: ARG002
        """Return a model that shares the weights of `model` and ends with its logits.

        Raises:
            ConfigError: it has none.
        """
        raise ConfigError(f"train.from_logits: a model of task {self.name} has no logits", "Set it to false.")

    @abstractmethod
    def compile(self, model: keras.Model, optimizer: keras.Optimizer, label_smoothing: float = 0.0) -> None:
        """Give the model, or what `to_logits` made of it, its loss, its metrics and the optimizer.

        Raises:
            ConfigError: smoothing, and the targets are no labels.
        """

    @abstractmethod
    def compare_outputs(self, expected: Outputs, actual: Outputs, tie: float) -> Parity:
        """Compare the outputs of two runtimes for the same rows; `tie` is the margin within which two may swap."""

    @abstractmethod
    def measure(self, outputs: Outputs, targets: Array, classes: tuple[str, ...], bins: int) -> Measurement:
        """Judge outputs, float32 `[n, *output_shape]`, against targets `[n]`; `bins` of the calibration error."""

    @abstractmethod
    def score(self, outputs: Outputs, targets: Array) -> float:
        """Return the headline metric alone, which takes a fraction of the time."""

    @abstractmethod
    def paired_test(self, candidate: Outputs, champion: Outputs, targets: Array) -> PairedTest:
        """Test whether a candidate differs from a champion on the same rows."""

    def corruptions(self) -> tuple[Corruption, ...]:
        """Return the changes of inputs that a model should bear; none unless the task knows some."""
        return ()

    @abstractmethod
    def report(
        self, folder: Path, inputs: Array, outputs: Outputs, targets: Array, classes: tuple[str, ...], mistakes: int
    ) -> None:
        """Write what explains the measurement into the existing folders `tables` and `pictures` of a folder."""
