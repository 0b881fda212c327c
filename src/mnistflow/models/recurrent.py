"""Recurrent networks: the base class of families that read an image as a sequence of rows."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from mnistflow.models.family import Activation, Network, activate
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
            x = self._dropped(self.layer(units, return_sequences=number < len(self.units))(x))
        for units in self.dense:
            x = self._dropped(activate(keras.layers.Dense(units)(x), self.activation))
        return x

    def _dropped(self, x: keras.KerasTensor) -> keras.KerasTensor:
        import keras

        return keras.layers.Dropout(self.dropout)(x) if self.dropout else x
