"""Residual network (ResNet)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from mnistflow.models.networks.network import Network, dropout
from mnistflow.schema import Penalty, Positive, Rate

if TYPE_CHECKING:
    import keras


class Resnet(Network):
    """Stages of residual blocks; each stage but the first halves height and width.

    Input float32 `[batch, height, width]`, features float32 `[batch, filters[-1]]`, the mean over all positions.
    Blocks as in He et al., arXiv:1512.03385: two 3x3 convolutions with batch normalization, and a projection where
    the shape changes.

    Attributes:
        filters: number of filters in each stage.
        blocks: number of blocks in each stage.
        stem_stride: stride of the first convolution; 2 divides the computation of all later layers by 4.
        dropout: rate before the output layer.
        l2: L2 penalty on the convolutions' weights, added to the loss.
    """

    summary = "Residual network (ResNet)"
    input_dimensions = 2

    filters: Annotated[tuple[Positive, ...], Field(strict=False, min_length=1)] = (16, 32, 64)
    blocks: Positive = 1
    stem_stride: Annotated[int, Field(ge=1, le=2)] = 1
    dropout: Rate = 0.2
    l2: Penalty = 0.0

    def body(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        import keras

        x = keras.layers.Reshape((*inputs.shape[1:], 1))(inputs)
        x = keras.layers.ReLU()(self._convolved(x, self.filters[0], stride=self.stem_stride))
        for stage, filters in enumerate(self.filters):
            for block in range(self.blocks):
                x = self._block(x, filters, stride=2 if stage and not block else 1)
        return dropout(keras.layers.GlobalAveragePooling2D()(x), self.dropout)

    def _block(self, x: keras.KerasTensor, filters: int, stride: int) -> keras.KerasTensor:
        import keras

        y = keras.layers.ReLU()(self._convolved(x, filters, stride=stride))
        y = self._convolved(y, filters)
        if stride > 1 or x.shape[-1] != filters:
            x = self._convolved(x, filters, kernel=1, stride=stride)
        return keras.layers.ReLU()(keras.layers.Add()([x, y]))

    def _convolved(self, x: keras.KerasTensor, filters: int, kernel: int = 3, stride: int = 1) -> keras.KerasTensor:
        import keras

        x = keras.layers.Conv2D(
            filters,
            kernel,
            strides=stride,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            kernel_regularizer=keras.regularizers.L2(self.l2) if self.l2 else None,
        )(x)
        return keras.layers.BatchNormalization()(x)
