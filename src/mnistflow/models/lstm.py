"""Long short-term memory (LSTM)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnistflow.models.recurrent import Recurrent

if TYPE_CHECKING:
    import keras


class Lstm(Recurrent):
    """The rows of an image as a sequence for `keras.layers.LSTM`; parameters and shapes as in `Recurrent`.

    Source: Hochreiter and Schmidhuber, Neural Computation 9 (1997).
    """

    summary = "Long short-term memory (LSTM)"

    def layer(self, units: int, return_sequences: bool) -> keras.Layer:
        import keras

        # Not unrolled, because tf2onnx converts it to ONNX's LSTM operator.
        return keras.layers.LSTM(units, return_sequences=return_sequences)
