"""What a model family is: validated parameters, and the name of the learner that fits it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from mnistflow.schema import Section

if TYPE_CHECKING:
    import keras

Activation = Literal["relu", "tanh", "sigmoid", "gelu"]
Initializer = Literal["glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_normal", "orthogonal"]


class Problem(Protocol):
    """What a family has to know of a task: its name, and whether it asks for a probability of each class."""

    @property
    def name(self) -> str: ...

    @property
    def asks_for_each_class(self) -> bool: ...


class Family(Section, ABC):
    """Parameters of one family of models.

    Attributes:
        learner: what fits and exports it, by its name in `mnistflow.learners`.
        input_dimensions: that inputs must have, such as 2 for height and width; None for any number.
        answers_for_each_class: whether its models give a probability for each class, and nothing else.
    """

    learner: ClassVar[str]
    input_dimensions: ClassVar[int | None] = None
    answers_for_each_class: ClassVar[bool] = False

    @property
    def complete(self) -> bool:
        """Whether these parameters suffice to train; some families want a choice that has no default."""
        return True

    def obstacle(self, task: Problem, input_shape: tuple[int, ...]) -> str | None:
        """Return why this family cannot learn the task from inputs of this shape, without the batch dimension."""
        if self.input_dimensions not in (None, len(input_shape)):
            return (
                f"takes inputs of {self.input_dimensions} dimensions, "
                f"and those of this data set have the shape {list(input_shape)}"
            )
        if self.answers_for_each_class and not task.asks_for_each_class:
            return f"gives a probability for each class, which task {task.name} does not ask for"
        return None


class Network(Family):
    """A neural network, built and fitted by Keras."""

    learner = "keras"

    @abstractmethod
    def body(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Return features, float32 `[batch, n]`, computed from scaled inputs, float32 `[batch, *shape]`."""


def activate(x: keras.KerasTensor, name: Activation) -> keras.KerasTensor:
    """Return the activation of `x`; GELU in its tanh form (arXiv:1606.08415): tf2onnx has no Erfc for the exact one."""
    import keras

    if name == "gelu":
        return keras.ops.gelu(x, approximate=True)
    return keras.layers.Activation(name)(x)
