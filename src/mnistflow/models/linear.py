"""Softmax regression."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnistflow.models.family import Network

if TYPE_CHECKING:
    import keras


class Linear(Network):
    """No features at all: the head of the task sees the flattened input. The baseline that every other must beat.

    Input float32 `[batch, *shape]`, features float32 `[batch, prod(shape)]`. With a softmax head this is multinomial
    logistic regression (Bishop, Pattern Recognition and Machine Learning, 4.3.4).
    """

    def body(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        import keras

        return keras.layers.Flatten()(inputs)
