"""Batch normalization: moving means and variances recomputed from training inputs as they are served.

During training, Keras keeps moving averages of the statistics of each batch. These come from augmented images, behind
dropout, and from weights that have changed since. At inference there is no augmentation and no dropout, and the weights
are fixed. So the statistics are recomputed with the final weights (after Izmailov et al., arXiv:1803.05407, section
3.2) from inputs without augmentation (after Touvron et al., arXiv:1906.06423, who do so for crops).
docs/explanation/training.md has the cost and the gain.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from mnistflow.arrays import Array
from mnistflow.runtime import backend
from mnistflow.runtime.batches import EVAL_BATCH_SIZE

if TYPE_CHECKING:
    import keras


class BatchStatistics:
    """Recomputes the moving statistics of a model's BatchNormalization layers.

    Works on a copy of the model without dropout, whose moving statistics are those of its last batch.

    Args:
        model: a functional model, not yet compiled.
    """

    def __init__(self, model: keras.Model) -> None:
        self._model = model
        self._copy = _statistics_copy(model) if _batch_normalizations(model) else None
        self._compute = _compiled(self._copy) if self._copy else None

    def update(self, inputs: Array) -> None:
        """Replace the moving means and variances of the model by those of inputs `[n, *input_shape]`.

        They are means over batches, each of which is spread over all inputs. No inputs change nothing.
        """
        if self._copy is None or self._compute is None or not len(inputs):
            return
        self._copy.set_weights(self._model.get_weights())
        sources, targets = (_moving_statistics(model) for model in (self._copy, self._model))
        averages: list[Array] = [np.zeros(variable.shape, np.float32) for variable in targets]
        count = -(-len(inputs) // EVAL_BATCH_SIZE)
        for number in range(count):
            self._compute(inputs[number::count])
            share = number / (number + 1)  # of the batches so far
            averages = [
                average * share + variable.numpy() * (1 - share)
                for average, variable in zip(averages, sources, strict=True)
            ]
        for variable, average in zip(targets, averages, strict=True):
            variable.assign(average)


def _statistics_copy(model: keras.Model) -> keras.Model:
    import keras

    def copied(operation: Any) -> Any:
        settings = operation.get_config()
        if isinstance(operation, keras.layers.BatchNormalization):
            settings["momentum"] = 0.0
        if isinstance(operation, keras.layers.Dropout):
            settings["rate"] = 0.0
        return type(operation).from_config(settings)

    return keras.models.clone_model(model, clone_function=copied)


def _compiled(model: keras.Model) -> Callable[[Array], object]:
    """Return the model in training mode, with TensorFlow as a graph, which takes half the time."""

    def compute(inputs: Any) -> Any:
        return model(inputs, training=True)

    if backend.current() != "tensorflow":
        return compute
    import tensorflow as tf

    (layer,) = model.inputs
    return cast(Callable[[Array], object], tf.function(compute, [tf.TensorSpec(layer.shape, layer.dtype)]))


def _batch_normalizations(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    import keras

    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def _moving_statistics(model: keras.Model) -> list[keras.Variable]:
    layers = _batch_normalizations(model)
    return [variable for layer in layers for variable in (layer.moving_mean, layer.moving_variance)]
