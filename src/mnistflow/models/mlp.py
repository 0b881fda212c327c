"""Fully connected networks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnistflow.models.family import Activation, Initializer, Network, Penalty, Rate, Sizes, activate

if TYPE_CHECKING:
    import keras


class Mlp(Network):
    """Multi-layer perceptron on the flattened input.

    Input float32 `[batch, *shape]`, features float32 `[batch, units[-1]]`. Each hidden layer is Dense, batch
    normalization (optional), activation, dropout (optional).
    """

    units: Sizes = (128,)
    activation: Activation = "relu"
    initializer: Initializer = "glorot_uniform"
    dropout: Rate = 0.2
    l1: Penalty = 0.0
    l2: Penalty = 0.0
    batch_normalization: bool = False

    def body(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        import keras

        x = keras.layers.Flatten()(inputs)
        for units in self.units:
            x = keras.layers.Dense(
                units,
                use_bias=not self.batch_normalization,
                kernel_initializer=self.initializer,
                kernel_regularizer=keras.regularizers.L1L2(self.l1, self.l2),
            )(x)
            if self.batch_normalization:
                x = keras.layers.BatchNormalization()(x)
            x = activate(x, self.activation)
            if self.dropout:
                x = keras.layers.Dropout(self.dropout)(x)
        return x
