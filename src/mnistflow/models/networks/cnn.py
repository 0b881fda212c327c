"""Convolutional neural network in the style of VGG."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field

from mnistflow.models.networks.network import Activation, Initializer, Network, activate, dropout, flatten
from mnistflow.schema import Penalty, Positive, Rate, Sizes

if TYPE_CHECKING:
    import keras

MOMENTUM = 0.9  # of batch normalization's moving averages, which must converge within two epochs


class Cnn(Network):
    """Blocks of convolutions, each ending with 2x2 max pooling or a stride of 2, followed by dense layers.

    Input float32 `[batch, height, width]`, features float32 `[batch, dense[-1]]`; without dense layers, the output of
    `head`. The blocks follow Simonyan and Zisserman, arXiv:1409.1556. Batch normalization precedes the activation, as
    in Ioffe and Szegedy, arXiv:1502.03167. Both follow the pooling, which leaves a quarter of the values to compute:
    for a monotonic activation, the maximum is the same before and after it.

    Attributes:
        geometry: normalization of the images: `box` scales their bounding boxes to the same size, `upright` removes
            their slant.
        blocks: number of filters of each convolution in each block.
        kernel: side of the kernels in pixels.
        stem_kernel: side of the first convolution's kernel in pixels; None means `kernel`.
        stem_stride: of the first convolution; above 1, its block has no pooling.
        padding: of convolutions and pooling; with `valid`, kernels stay inside the image, which shrinks.
        pooling: with `stride`, the last convolution of a block halves height and width instead, which computes a
            quarter of the values; with `none`, all blocks keep height and width.
        head: `flatten`, or `max` for global max pooling instead of the last block's pooling.
        dense: units of each dense layer.
        activation: of convolutions and dense layers.
        initializer: of the weights; biases start at 0.
        dropout: rate after each block and each dense layer.
        l1: L1 penalty on the weights, added to the loss.
        l2: L2 penalty on the weights, added to the loss.
        batch_normalization: before each activation, instead of a bias.
    """

    summary = "Convolutional neural network in the style of VGG"
    input_dimensions = 2

    geometry: Literal["none", "box", "upright"] = "none"
    blocks: Annotated[tuple[Sizes, ...], Field(strict=False, min_length=1)] = ((32,), (64,), (128,))
    kernel: Positive = 3
    stem_kernel: Positive | None = 5
    stem_stride: Annotated[int, Field(ge=1, le=4)] = 2
    padding: Literal["same", "valid"] = "same"
    pooling: Literal["max", "stride", "none"] = "max"
    head: Literal["flatten", "max"] = "max"
    dense: Sizes = ()
    activation: Activation = "relu"
    initializer: Initializer = "he_normal"
    dropout: Rate = 0.0
    l1: Penalty = 0.0
    l2: Penalty = 0.0
    batch_normalization: bool = True

    def body(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        import keras

        x = keras.layers.Reshape((*inputs.shape[1:], 1))(self._normalized(inputs))
        for number, filters in enumerate(self.blocks):
            x = self._block(x, filters, first=number == 0, last=number == len(self.blocks) - 1)
        x = keras.layers.GlobalMaxPooling2D()(x) if self.head == "max" else flatten(x)
        for units in self.dense:
            dense = keras.layers.Dense(
                units,
                use_bias=not self.batch_normalization,
                kernel_initializer=self.initializer,
                kernel_regularizer=keras.regularizers.L1L2(self.l1, self.l2),
            )
            x = dropout(self._activated(dense(x)), self.dropout)
        return x

    def _normalized(self, images: keras.KerasTensor) -> keras.KerasTensor:
        if self.geometry == "none":
            return images
        from mnistflow.models.layers.geometry import Geometry

        return Geometry(self.geometry)(images)

    def _block(self, x: keras.KerasTensor, filters: Sizes, first: bool, last: bool) -> keras.KerasTensor:
        import keras

        reduced = self.pooling == "none" or (first and self.stem_stride > 1) or (last and self.head == "max")
        for number, count in enumerate(filters):
            stem, halves = first and number == 0, number == len(filters) - 1 and not reduced
            x = keras.layers.Conv2D(
                count,
                (self.stem_kernel or self.kernel) if stem else self.kernel,
                strides=2 if halves and self.pooling == "stride" else self.stem_stride if stem else 1,
                padding=self.padding,
                use_bias=not self.batch_normalization,
                kernel_initializer=self.initializer,
                kernel_regularizer=keras.regularizers.L1L2(self.l1, self.l2),
            )(x)
            if halves and self.pooling == "max":
                x = keras.layers.MaxPooling2D(2, padding=self.padding)(x)
            x = self._activated(x)
        return dropout(x, self.dropout)

    def _activated(self, x: keras.KerasTensor) -> keras.KerasTensor:
        import keras

        if self.batch_normalization:
            x = keras.layers.BatchNormalization(momentum=MOMENTUM)(x)
        return activate(x, self.activation)
