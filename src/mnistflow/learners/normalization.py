"""The statistics that batch normalization goes by when a model answers, taken from the data it will see.

While a model is fitted, Keras keeps a running mean of what the batches had: augmented images, seen with weights that
have changed since, behind dropout. None of that is there when the model answers. So they are measured anew, with the
weights that are kept (after Izmailov et al., arXiv:1803.05407, section 3.2), on inputs as they are (after Touvron et
al., arXiv:1906.06423, who do so for crops). docs/explanation/training.md has what that costs and brings.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mnistflow.arrays import Array
from mnistflow.runtime.batches import JUDGED

if TYPE_CHECKING:
    import keras


def take_statistics(model: keras.Model, inputs: Array) -> None:
    """Replace the moving means and variances of a model by those of these inputs, `[n, *input_shape]`.

    They are the means over a few batches, each from all over the inputs. No inputs change nothing.
    """
    import keras

    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not layers or not len(inputs):
        return
    dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    batches = -(-len(inputs) // JUDGED)
    with _kept(layers, "momentum"), _kept(dropouts, "rate"):
        for dropout in dropouts:
            dropout.rate = 0
        for number in range(batches):
            for layer in layers:
                # So that the moving mean is the mean of the batches so far.
                layer.momentum = number / (number + 1)
            model(inputs[number::batches], training=True)


@contextmanager
def _kept(layers: Sequence[keras.Layer], attribute: str) -> Iterator[None]:
    """Put an attribute of the layers back behind the block."""
    values = [getattr(layer, attribute) for layer in layers]
    try:
        yield
    finally:
        for layer, value in zip(layers, values, strict=True):
            setattr(layer, attribute, value)
