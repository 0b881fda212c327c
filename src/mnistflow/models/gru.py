"""Gated recurrent units (GRU)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnistflow.models.recurrent import Recurrent

if TYPE_CHECKING:
    import keras


class Gru(Recurrent):
    """The rows of an image as a sequence for `keras.layers.GRU`; parameters and shapes as in `Recurrent`.

    Source: Cho et al., arXiv:1406.1078.
    """

    summary = "Gated recurrent units (GRU)"

    def layer(self, units: int, return_sequences: bool) -> keras.Layer:
        import keras

        # Unrolled, because tf2onnx converts a rolled GRU to a Loop, which is several times slower.
        return keras.layers.GRU(units, return_sequences=return_sequences, unroll=True)
