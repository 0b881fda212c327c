"""Multiclass classification of small grey images: uint8 pixels in, class probabilities out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistflow.arrays import Array, Outputs
from mnistflow.tasks import corruptions, identity, plots
from mnistflow.tasks.classification import LOGITS, Classification
from mnistflow.tasks.task import Signature

if TYPE_CHECKING:
    import keras

    from mnistflow.models.family import Network
    from mnistflow.splits import Dataset


class ImageClassification(Classification):
    """Images uint8 `[batch, height, width]` to probabilities float32 `[batch, classes]`."""

    identity = identity.IMAGE_CLASSIFICATION
    asks_for_each_class = True

    def signature(self, input_shape: tuple[int, ...], classes: tuple[str, ...]) -> Signature:
        return Signature("images", "uint8", input_shape, "probabilities", (len(classes),))

    def wrong_inputs(self, inputs: Array) -> str | None:
        return "pixels are 0 or 1 at most, not spread over 0 to 255" if inputs.max() <= 1 else None

    def draw_examples(self, path: Path, data: Dataset) -> None:
        plots.examples_of_each_class(path, data)

    def build(self, family: Network, signature: Signature) -> keras.Model:
        import keras

        images = keras.Input(signature.input_shape, dtype=signature.input_dtype, name=signature.input_name)
        scaled = keras.layers.Rescaling(1 / 255, name="scale")(images)
        logits = keras.layers.Dense(*signature.output_shape, name=LOGITS)(family.body(scaled))
        # Probabilities stay float32 under mixed precision.
        probabilities = keras.layers.Softmax(dtype="float32", name=signature.output_name)(logits)
        return keras.Model(images, probabilities)

    def crossentropy(self, from_logits: bool, smoothing: float) -> Any:
        import keras

        if not smoothing:
            return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)

        def loss(labels: Any, outputs: Any) -> Any:
            certain = keras.ops.one_hot(keras.ops.reshape(labels, (-1,)), outputs.shape[-1])
            return keras.losses.categorical_crossentropy(certain, outputs, from_logits, smoothing)

        return loss

    def probabilities(self, outputs: Outputs) -> Outputs:
        return outputs

    def corruptions(self) -> tuple[corruptions.Corruption, ...]:
        return corruptions.OF_IMAGES

    def report(
        self, folder: Path, inputs: Array, outputs: Outputs, targets: Array, classes: tuple[str, ...], mistakes: int
    ) -> None:
        """Write what every classification has, and `mistakes.png`."""
        super().report(folder, inputs, outputs, targets, classes, mistakes)
        plots.worst_mistakes(folder / "pictures/mistakes.png", inputs, outputs, targets, classes, mistakes)
