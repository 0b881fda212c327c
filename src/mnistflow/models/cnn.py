"""Convolutional networks of the VGG kind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from mnistflow.models.family import Activation, Family, Penalty, Positive, Rate, Sizes, activate

if TYPE_CHECKING:
    import keras


class Cnn(Family):
    """Blocks of convolutions, each closed by 2x2 max pooling, then dense layers.

    Input float32 `[batch, height, width]`, features float32 `[batch, dense[-1]]` (the flattened last block when `dense`
    is empty). The blocks follow Simonyan and Zisserman, arXiv:1409.1556; batch normalization stands before the
    activation, as in Ioffe and Szegedy, arXiv:1502.03167.
    """

    blocks: Annotated[tuple[Sizes, ...], Field(strict=False)] = ((32,), (64,))
    kernel: Positive = 3
    dense: Sizes = (128,)
    activation: Activation = "relu"
    dropout: Rate = 0.3
    l1: Penalty = 0.0
    l2: Penalty = 0.0
    batch_normalization: bool = False

    def body(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        import keras

        x = keras.layers.Reshape((*inputs.shape[1:], 1))(inputs)
        for filters_of_block in self.blocks:
            for filters in filters_of_block:
                x = self._activated(
                    keras.layers.Conv2D(
                        filters,
                        self.kernel,
                        padding="same",
                        use_bias=not self.batch_normalization,
                        kernel_regularizer=keras.regularizers.L1L2(self.l1, self.l2),
                    )(x)
                )
            x = self._dropped(keras.layers.MaxPooling2D(2, padding="same")(x))
        x = keras.layers.Flatten()(x)
        for units in self.dense:
            x = keras.layers.Dense(
                units,
                use_bias=not self.batch_normalization,
                kernel_regularizer=keras.regularizers.L1L2(self.l1, self.l2),
            )(x)
            x = self._dropped(self._activated(x))
        return x

    def _activated(self, x: keras.KerasTensor) -> keras.KerasTensor:
        import keras

        if self.batch_normalization:
            x = keras.layers.BatchNormalization()(x)
        return activate(x, self.activation)

    def _dropped(self, x: keras.KerasTensor) -> keras.KerasTensor:
        import keras

        return keras.layers.Dropout(self.dropout)(x) if self.dropout else x
