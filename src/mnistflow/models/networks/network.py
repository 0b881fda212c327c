"""Neural networks: their base class, and functions that the layers of several of them share."""

from __future__ import annotations

from abc import abstractmethod
from math import prod
from typing import TYPE_CHECKING, Literal

from mnistflow.models.family import Family
from mnistflow.schema import Rate

if TYPE_CHECKING:
    import keras

Activation = Literal["relu", "tanh", "sigmoid", "gelu"]
Initializer = Literal["glorot_uniform", "glorot_normal", "he_uniform", "he_normal", "lecun_normal", "orthogonal"]


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
        from mnistflow.models.layers.levels import Levels

        return self.body(Levels(name="levels")(images))


def activate(x: keras.KerasTensor, name: Activation) -> keras.KerasTensor:
    """Return the activation of `x`, of the same shape.

    GELU is the tanh approximation (arXiv:1606.08415), because tf2onnx cannot convert the exact one, which needs Erfc.
    """
    import keras

    if name == "gelu":
        return keras.ops.gelu(x, approximate=True)
    return keras.layers.Activation(name)(x)


def dropout(x: keras.KerasTensor, rate: Rate) -> keras.KerasTensor:
    """Return `x` after dropout, of the same shape; at rate 0, `x` itself."""
    import keras

    return keras.layers.Dropout(rate)(x) if rate else x


def flatten(x: keras.KerasTensor) -> keras.KerasTensor:
    """Return the values of each example in one dimension: `[batch, n]`.

    The size is a constant: tf2onnx converts `keras.layers.Flatten` to seven operators that compute it for each request.
    """
    import keras

    return keras.ops.reshape(x, (-1, prod(x.shape[1:])))
