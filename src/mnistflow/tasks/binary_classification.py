"""Binary classification of feature vectors: the output is the probability of the second class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistflow.arrays import Array, Outputs
from mnistflow.tasks import identity
from mnistflow.tasks.classification import LOGITS, Classification
from mnistflow.tasks.plots import charts, data_sets
from mnistflow.tasks.task import Signature

if TYPE_CHECKING:
    import keras

    from mnistflow.models.networks.network import Network
    from mnistflow.splits import Dataset


class BinaryClassification(Classification):
    """Features float32 `[batch, n]`, of magnitude about 1, to a probability float32 `[batch, 1]`."""

    identity = identity.BINARY_CLASSIFICATION

    def signature(self, input_shape: tuple[int, ...], classes: tuple[str, ...]) -> Signature:
        return Signature("features", "float32", input_shape, "probability", (1,))

    def plot_examples(self, path: Path, data: Dataset) -> None:
        data_sets.principal_components(path, data)

    def build(self, family: Network, signature: Signature) -> keras.Model:
        import keras

        features = keras.Input(signature.input_shape, dtype=signature.input_dtype, name=signature.input_name)
        logits = keras.layers.Dense(1, name=LOGITS)(family.body(features))
        probability = keras.layers.Activation("sigmoid", dtype="float32", name=signature.output_name)(logits)
        return keras.Model(features, probability)

    def crossentropy(self, from_logits: bool, smoothing: float) -> Any:
        import keras

        return keras.losses.BinaryCrossentropy(from_logits=from_logits, label_smoothing=smoothing)

    def accuracy(self, from_logits: bool) -> Any:
        import keras

        return keras.metrics.BinaryAccuracy("accuracy", threshold=0.0 if from_logits else 0.5)

    def probabilities(self, outputs: Outputs) -> Outputs:
        return np.concatenate([1 - outputs, outputs], axis=1)

    def report(
        self, folder: Path, inputs: Array, outputs: Outputs, targets: Array, classes: tuple[str, ...], mistakes: int
    ) -> None:
        """Write the report of every classification, and `roc.png`."""
        super().report(folder, inputs, outputs, targets, classes, mistakes)
        charts.roc(folder / "pictures/roc.png", outputs[:, 0], targets, classes)
