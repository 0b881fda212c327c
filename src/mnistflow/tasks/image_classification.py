"""Image classification: class probabilities of small grey-scale images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistflow.arrays import Array, Outputs
from mnistflow.tasks import corruptions, identity
from mnistflow.tasks.classification import LOGITS, Classification
from mnistflow.tasks.image_data import ImageData
from mnistflow.tasks.plots import image_grids
from mnistflow.tasks.task import Signature

if TYPE_CHECKING:
    import keras

    from mnistflow.models.networks.network import Network


class ImageClassification(ImageData, Classification):
    """Images uint8 `[batch, height, width]` to probabilities float32 `[batch, classes]`."""

    identity = identity.IMAGE_CLASSIFICATION
    has_class_probabilities = True

    def signature(self, input_shape: tuple[int, ...], classes: tuple[str, ...]) -> Signature:
        return Signature("images", "uint8", input_shape, "probabilities", (len(classes),))

    def build(self, family: Network, signature: Signature) -> keras.Model:
        import keras

        images = keras.Input(signature.input_shape, dtype=signature.input_dtype, name=signature.input_name)
        scaled = keras.layers.Rescaling(1 / 255, name="scale")(images)
        features = family.image_body(scaled) if signature.takes_images else family.body(scaled)
        logits = keras.layers.Dense(*signature.output_shape, name=LOGITS)(features)
        # float32 also under mixed precision.
        probabilities = keras.layers.Softmax(dtype="float32", name=signature.output_name)(logits)
        return keras.Model(images, probabilities)

    def crossentropy(self, from_logits: bool, smoothing: float) -> Any:
        """Return the Keras loss; the target of an example labelled -1, which has no class, is equal probabilities.

        Instead of labels, targets may be probabilities `[batch, classes]`.
        """
        import keras

        def loss(labels: Any, outputs: Any) -> Any:
            if labels.shape[-1] == outputs.shape[-1]:
                return keras.losses.categorical_crossentropy(labels, outputs, from_logits, smoothing)
            labels, count = keras.ops.reshape(labels, (-1,)), outputs.shape[-1]
            has_class = keras.ops.cast(labels >= 0, outputs.dtype)[:, None]
            targets = keras.ops.one_hot(labels, count, dtype=outputs.dtype) + (1 - has_class) / count
            return keras.losses.categorical_crossentropy(targets, outputs, from_logits, smoothing)

        return loss

    def probabilities(self, outputs: Outputs) -> Outputs:
        return outputs

    def corruptions(self) -> tuple[corruptions.Corruption, ...]:
        return corruptions.IMAGE_CORRUPTIONS

    def report(
        self, folder: Path, inputs: Array, outputs: Outputs, targets: Array, classes: tuple[str, ...], mistakes: int
    ) -> None:
        """Write the report of every classification, and `mistakes.png`."""
        super().report(folder, inputs, outputs, targets, classes, mistakes)
        image_grids.worst_mistakes(folder / "pictures/mistakes.png", inputs, outputs, targets, classes, mistakes)
