"""Model family: the base class of validated parameters that describe a model and name its learner."""

from __future__ import annotations

from abc import ABC, abstractmethod
from math import prod
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

from mnistflow.schema import Section

if TYPE_CHECKING:
    import keras

Activation = Literal["relu", "tanh", "sigmoid", "gelu"]
Initializer = Literal["glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_normal", "orthogonal"]


class TaskTraits(Protocol):
    """The part of a task that families depend on."""

    @property
    def name(self) -> str: ...

    @property
    def has_class_probabilities(self) -> bool: ...

    @property
    def generates(self) -> bool: ...


class Family(Section, ABC):
    """Base class of the parameters of a model family.

    Attributes:
        summary: what the family is, in a few words, for `mnistflow models`.
        learner: name of the learner that fits and exports its models; see `mnistflow.learners.get`.
        input_dimensions: rank of an example, such as 2 for height and width; None means any.
        predicts_class_probabilities: whether its models support only outputs of one probability per class.
        generates: whether its models make new examples, instead of predictions.
    """

    summary: ClassVar[str]
    learner: ClassVar[str]
    input_dimensions: ClassVar[int | None] = None
    predicts_class_probabilities: ClassVar[bool] = False
    generates: ClassVar[bool] = False

    @property
    def trainable(self) -> bool:
        """Whether all required parameters are set. Some families have parameters without a default."""
        return True

    def incompatibility(self, task: TaskTraits, input_shape: tuple[int, ...]) -> str | None:
        """Return why the family does not support a task with inputs of this shape, or None if it does.

        Args:
            task: what the model learns.
            input_shape: shape of an example, without the batch dimension.
        """
        if self.input_dimensions not in (None, len(input_shape)):
            return (
                f"needs inputs of {self.input_dimensions} dimensions, "
                f"but those of this data set have shape {list(input_shape)}"
            )
        if self.generates != task.generates:
            made = "makes new examples, as a data set <name>_generation asks for" if self.generates else "predicts"
            return f"{made}, but the task of this data set is {task.name}"
        if self.predicts_class_probabilities and not task.has_class_probabilities:
            return f"predicts class probabilities, which task {task.name} does not have"
        return None


class Network(Family):
    """Base class of neural networks, built and trained with Keras.

    Attributes:
        auto_levels: give images a dark background and full contrast, inside the model; without effect on other inputs.
    """

    learner = "keras"

    auto_levels: bool = True

    @abstractmethod
    def body(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        """Return features, float32 `[batch, n]`, of scaled inputs, float32 `[batch, *input_shape]`."""

    def image_body(self, images: keras.KerasTensor) -> keras.KerasTensor:
        """Return features, float32 `[batch, n]`, of images, float32 `[batch, height, width]` in 0 to 1."""
        if not self.auto_levels:
            return self.body(images)
        from mnistflow.models.levels import Levels

        return self.body(Levels(name="levels")(images))


def activate(x: keras.KerasTensor, name: Activation) -> keras.KerasTensor:
    """Return the activation of `x`, of the same shape.

    GELU is the tanh approximation (arXiv:1606.08415), because tf2onnx cannot convert the exact one, which needs Erfc.
    """
    import keras

    if name == "gelu":
        return keras.ops.gelu(x, approximate=True)
    return keras.layers.Activation(name)(x)


def flatten(x: keras.KerasTensor) -> keras.KerasTensor:
    """Return the values of each example in one dimension: `[batch, n]`.

    The size is a constant: tf2onnx converts `keras.layers.Flatten` to seven operators that compute it for each request.
    """
    import keras

    return keras.ops.reshape(x, (-1, prod(x.shape[1:])))
