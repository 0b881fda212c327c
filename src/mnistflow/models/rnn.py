"""Simple recurrent network (Elman)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnistflow.models.recurrent import Recurrent

if TYPE_CHECKING:
    import keras


class Rnn(Recurrent):
    """The rows of an image as a sequence for `keras.layers.SimpleRNN`; parameters and shapes as in `Recurrent`.

    Source: Elman, Finding structure in time, Cognitive Science 14 (1990).
    """

    summary = "Simple recurrent network (Elman)"

    def layer(self, units: int, return_sequences: bool) -> keras.Layer:
        import keras

        # Unrolled, because tf2onnx converts a rolled one to a Loop, which is several times slower.
        return keras.layers.SimpleRNN(units, return_sequences=return_sequences, unroll=True)
