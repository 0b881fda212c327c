"""Vision transformer: self-attention between the patches of an image."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from pydantic import model_validator

from mnistflow.models.family import TaskTraits
from mnistflow.models.networks.network import Network, dropout
from mnistflow.schema import Positive, Rate

if TYPE_CHECKING:
    import keras


class Attention(Network):
    """Small vision transformer.

    Input float32 `[batch, height, width]`, split into square patches; features float32 `[batch, width]`, the mean over
    all patches. Patch embedding and learned positions follow Dosovitskiy et al., arXiv:2010.11929; multi-head
    self-attention follows Vaswani et al., arXiv:1706.03762. Layer normalization precedes each block (Xiong et al.,
    arXiv:2002.04745).

    Attributes:
        patch: side of a patch in pixels; must divide height and width.
        width: size of a patch's embedding; must be divisible by `heads`.
        heads: number of attention heads.
        depth: number of blocks.
        dropout: rate, of attention weights and of the output of each feed-forward layer.
    """

    summary = "Vision transformer: self-attention between the patches of an image"
    input_dimensions = 2

    patch: Positive = 7
    width: Positive = 64
    heads: Positive = 4
    depth: Positive = 2
    dropout: Rate = 0.1

    @model_validator(mode="after")
    def _heads_divide_the_width(self) -> Self:
        if self.width % self.heads:
            raise ValueError(f"width: {self.width} is not divisible by heads {self.heads}")
        return self

    def incompatibility(self, task: TaskTraits, input_shape: tuple[int, ...]) -> str | None:
        if reason := super().incompatibility(task, input_shape):
            return reason
        if any(side % self.patch for side in input_shape):
            return (
                f"divides inputs into patches of {self.patch} by {self.patch} (model.attention.patch), "
                f"which is no divisor of both sides of {list(input_shape)}"
            )
        return None

    def body(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        import keras

        x = self._embedded_patches(inputs)
        for _ in range(self.depth):
            normal = keras.layers.LayerNormalization()(x)
            attention = keras.layers.MultiHeadAttention(self.heads, self.width // self.heads, dropout=self.dropout)
            x = keras.layers.Add()([x, attention(normal, normal)])
            x = keras.layers.Add()([x, self._feed_forward(keras.layers.LayerNormalization()(x))])
        return keras.layers.GlobalAveragePooling1D()(keras.layers.LayerNormalization()(x))

    def _embedded_patches(self, inputs: keras.KerasTensor) -> keras.KerasTensor:
        import keras

        height, width = inputs.shape[1:]
        rows, columns = height // self.patch, width // self.patch
        x = keras.layers.Reshape((rows, self.patch, columns, self.patch))(inputs)
        x = keras.layers.Permute((1, 3, 2, 4))(x)
        x = keras.layers.Reshape((rows * columns, self.patch**2))(x)
        # The bias of each patch is its learned position.
        return keras.layers.EinsumDense("bpi,io->bpo", (rows * columns, self.width), bias_axes="po")(x)

    def _feed_forward(self, x: keras.KerasTensor) -> keras.KerasTensor:
        import keras

        x = keras.ops.gelu(keras.layers.Dense(2 * self.width)(x), approximate=True)
        return dropout(keras.layers.Dense(self.width)(x), self.dropout)
