"""The statistics that batch normalization goes by when a model answers, taken from the data it will see.

While a model is fitted, Keras keeps a running mean of what the batches had: augmented images, seen with weights that
have changed since, behind dropout. None of that is there when the model answers. So they are measured anew, with the
weights that are kept (after Izmailov et al., arXiv:1803.05407, section 3.2), on inputs as they are (after Touvron et
al., arXiv:1906.06423, who do so for crops). docs/training.md has what that costs and brings.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mnistflow.batches import JUDGED
from mnistflow.tasks.task import Array

if TYPE_CHECKING:
    import keras


def take_statistics(model: keras.Model, inputs: Array) -> None:
    """Replace the moving means and variances of a model by those of these inputs, `[n, *input_shape]`.

    They are taken in whole batches: of fewer inputs than one, nothing is taken.
    """
    import keras

    layers = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not layers:
        return
    with _without_dropout(model):
        momenta = [layer.momentum for layer in layers]
        for number, start in enumerate(range(0, len(inputs) - JUDGED + 1, JUDGED)):
            for layer in layers:
                # So that the moving mean is the mean of the batches so far.
                layer.momentum = number / (number + 1)
            model(inputs[start : start + JUDGED], training=True)
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum


@contextmanager
def _without_dropout(model: keras.Model) -> Iterator[None]:
    import keras

    dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    rates = [layer.rate for layer in dropouts]
    for layer in dropouts:
        layer.rate = 0
    try:
        yield
    finally:
        for layer, rate in zip(dropouts, rates, strict=True):
            layer.rate = rate
