"""Recurrent networks: families that read an image as a sequence of rows."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from mnistflow.models.networks.network import Activation, Network, activate, dropout
from mnistflow.schema import Rate, Sizes

if TYPE_CHECKING:
    import keras


class Recurrent(Network):
    """Base class of recurrent layers over the rows, top to bottom, followed by dense layers on the last state.

    Input float32 `[batch, rows, columns]`, features float32 `[batch, dense[-1]]`; without dense layers, the last state
    `[batch, units[-1]]`.

    Attributes:
        units: of each recurrent layer; all but the last return their state at every row.
        dense: units of each dense layer.
        activation: of the dense layers.
        dropout: rate after each layer.
    """

    input_dimensions = 2

    units: Sizes = (64,)
    dense: Sizes = ()
    activation: Activation = "relu"
    dropout: Rate = 0.1

    @abstractmethod
    def layer(self, units: int, return_sequences: bool) -> keras.Layer:
        """Return a recurrent layer, float32 `[batch, steps, n]` to `[batch, steps, units]` or `[batch, units]`."""

    def body(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        import keras

        x = inputs
        for number, units in enumerate(self.units, start=1):
            x = dropout(self.layer(units, return_sequences=number < len(self.units))(x), self.dropout)
        for units in self.dense:
            x = dropout(activate(keras.layers.Dense(units)(x), self.activation), self.dropout)
        return x


class Rnn(Recurrent):
    """The rows of an image as a sequence for `keras.layers.SimpleRNN`; parameters and shapes as in `Recurrent`.

    Source: Elman, Finding structure in time, Cognitive Science 14 (1990).
    """

    summary = "Simple recurrent network (Elman)"

    def layer(self, units: int, return_sequences: bool) -> keras.Layer:
        import keras

        # Unrolled, because tf2onnx converts a rolled one to a Loop, which is several times slower.
        return keras.layers.SimpleRNN(units, return_sequences=return_sequences, unroll=True)


class Lstm(Recurrent):
    """The rows of an image as a sequence for `keras.layers.LSTM`; parameters and shapes as in `Recurrent`.

    Source: Hochreiter and Schmidhuber, Neural Computation 9 (1997).
    """

    summary = "Long short-term memory (LSTM)"

    def layer(self, units: int, return_sequences: bool) -> keras.Layer:
        import keras

        # Not unrolled, because tf2onnx converts it to ONNX's LSTM operator.
        return keras.layers.LSTM(units, return_sequences=return_sequences)


class Gru(Recurrent):
    """The rows of an image as a sequence for `keras.layers.GRU`; parameters and shapes as in `Recurrent`.

    Source: Cho et al., arXiv:1406.1078.
    """

    summary = "Gated recurrent units (GRU)"

    def layer(self, units: int, return_sequences: bool) -> keras.Layer:
        import keras

        # Unrolled, because tf2onnx converts a rolled GRU to a Loop, which is several times slower.
        return keras.layers.GRU(units, return_sequences=return_sequences, unroll=True)
