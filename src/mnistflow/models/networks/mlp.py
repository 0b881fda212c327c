"""Multi-layer perceptron: fully connected layers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnistflow.models.networks.network import Activation, Initializer, Network, activate, dropout, flatten
from mnistflow.schema import Penalty, Rate, Sizes

if TYPE_CHECKING:
    import keras


class Mlp(Network):
    """Multi-layer perceptron on the flattened input.

    Input float32 `[batch, *input_shape]`, features float32 `[batch, units[-1]]`; without hidden layers, the flattened
    input.

    Source: Rumelhart, Hinton and Williams, Nature 323 (1986). Batch normalization precedes the activation, as in Ioffe
    and Szegedy, arXiv:1502.03167. Dropout follows Srivastava et al., JMLR 15 (2014).

    Attributes:
        units: of each hidden layer.
        activation: of the hidden layers.
        initializer: of the hidden layers' weights; biases start at 0.
        dropout: rate after each hidden layer.
        l1: L1 penalty on the hidden layers' weights, added to the loss.
        l2: L2 penalty on the hidden layers' weights, added to the loss.
        batch_normalization: before each activation, instead of a bias.
    """

    summary = "Multi-layer perceptron: fully connected layers"

    units: Sizes = (128,)
    activation: Activation = "relu"
    initializer: Initializer = "glorot_uniform"
    dropout: Rate = 0.2
    l1: Penalty = 0.0
    l2: Penalty = 0.0
    batch_normalization: bool = False

    def body(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        import keras

        x = flatten(inputs)
        for units in self.units:
            x = keras.layers.Dense(
                units,
                use_bias=not self.batch_normalization,
                kernel_initializer=self.initializer,
                kernel_regularizer=keras.regularizers.L1L2(self.l1, self.l2),
            )(x)
            if self.batch_normalization:
                x = keras.layers.BatchNormalization()(x)
            x = dropout(activate(x, self.activation), self.dropout)
        return x
