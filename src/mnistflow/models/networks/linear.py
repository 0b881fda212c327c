"""Softmax regression: the linear baseline."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnistflow.models.networks.network import Network, flatten

if TYPE_CHECKING:
    import keras


class Linear(Network):
    """No hidden layers: the features are the flattened inputs. The baseline for all other families.

    Input float32 `[batch, *input_shape]`, features float32 `[batch, prod(input_shape)]`. With a softmax output, this is
    multinomial logistic regression (Bishop, Pattern Recognition and Machine Learning, 4.3.4).
    """

    summary = "Softmax regression: the linear baseline"

    def body(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        return flatten(inputs)
