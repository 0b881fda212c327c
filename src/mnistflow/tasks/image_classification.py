"""Multiclass classification of small grey images: uint8 pixels in, class probabilities out."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnistflow.files import write_json
from mnistflow.models.family import Network
from mnistflow.tasks import corruptions, pictures
from mnistflow.tasks.task import Array, Measurement, Outputs, PairedTest, Parity, Signature, Task

if TYPE_CHECKING:
    import keras


LOGITS = "logits"


class ImageClassification(Task):
    """Images uint8 `[batch, height, width]` to probabilities float32 `[batch, classes]`."""

    name = "image_classification"
    headline = "accuracy"

    def signature(self, input_shape: tuple[int, ...], classes: tuple[str, ...]) -> Signature:
        return Signature("images", "uint8", input_shape, "probabilities", (len(classes),))

    def build(self, family: Network, signature: Signature) -> keras.Model:
        import keras

        images = keras.Input(signature.input_shape, dtype=signature.input_dtype, name=signature.input_name)
        scaled = keras.layers.Rescaling(1 / 255, name="scale")(images)
        logits = keras.layers.Dense(*signature.output_shape, name=LOGITS)(family.body(scaled))
        # Probabilities stay float32 under mixed precision.
        probabilities = keras.layers.Softmax(dtype="float32", name=signature.output_name)(logits)
        return keras.Model(images, probabilities)

    def before_softmax(self, model: keras.Model) -> keras.Model:
        import keras

        return keras.Model(model.inputs, model.get_layer(LOGITS).output)

    def compile(self, model: keras.Model, optimizer: keras.Optimizer, label_smoothing: float = 0.0) -> None:
        """Smoothed labels as in Szegedy et al., arXiv:1512.00567."""
        loss = _crossentropy(from_logits=model.layers[-1].name == LOGITS, smoothing=label_smoothing)
        # XLA on a CPU is slower than TensorFlow's own kernels for networks of this size.
        model.compile(optimizer, loss=loss, metrics=["accuracy"], jit_compile=False)

    def compare_outputs(self, expected: Outputs, actual: Outputs, tie: float) -> Parity:
        gap = float(np.abs(expected - actual).max())
        differs = expected.argmax(axis=1) != actual.argmax(axis=1)
        best_two = np.sort(expected, axis=1)[:, -2:]
        tied = best_two[:, 1] - best_two[:, 0] <= tie
        return Parity(gap, int((differs & ~tied).sum()), len(expected))

    def measure(self, outputs: Outputs, targets: Array, classes: tuple[str, ...], bins: int) -> Measurement:
        from sklearn.metrics import classification_report, log_loss, top_k_accuracy_score

        labels = np.arange(len(classes))
        predicted = outputs.argmax(axis=1)
        report = classification_report(
            targets, predicted, labels=labels, target_names=list(classes), output_dict=True, zero_division=0
        )
        metrics = {
            "accuracy": float((predicted == targets).mean()),
            "errors": float((predicted != targets).sum()),
            "loss": float(log_loss(targets, _normalized(outputs), labels=labels)),
            "calibration_error": calibration_error(outputs, targets, bins),
            "macro_precision": float(report["macro avg"]["precision"]),
            "macro_recall": float(report["macro avg"]["recall"]),
            "macro_f1": float(report["macro avg"]["f1-score"]),
        }
        if len(classes) > 2:
            metrics["top_2_accuracy"] = float(top_k_accuracy_score(targets, outputs, k=2, labels=labels))
        return Measurement(metrics, {name: float(report[name]["recall"]) for name in classes})

    def paired_test(self, candidate: Outputs, champion: Outputs, targets: Array) -> PairedTest:
        """McNemar's test in its exact form (McNemar 1947; Edwards 1948): binomial on the discordant rows."""
        from scipy.stats import binomtest

        right = candidate.argmax(axis=1) == targets
        champion_right = champion.argmax(axis=1) == targets
        wins = int((right & ~champion_right).sum())
        losses = int((~right & champion_right).sum())
        p_value = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
        return PairedTest("McNemar exact", wins, losses, float(p_value))

    def corruptions(self) -> tuple[corruptions.Corruption, ...]:
        return corruptions.OF_IMAGES

    def report(
        self, folder: Path, inputs: Array, outputs: Outputs, targets: Array, classes: tuple[str, ...], mistakes: int
    ) -> None:
        """Write `classes.json`, `confusion.csv`, `confusion.png`, `mistakes.png` and `calibration.png`."""
        from sklearn.metrics import classification_report

        predicted = outputs.argmax(axis=1)
        labels = np.arange(len(classes))
        table = classification_report(
            targets, predicted, labels=labels, target_names=list(classes), output_dict=True, zero_division=0
        )
        write_json(folder / "classes.json", table)
        _write_confusion(folder / "confusion.csv", predicted, targets, classes)
        pictures.confusion(folder / "confusion.png", predicted, targets, classes)
        pictures.worst_mistakes(folder / "mistakes.png", inputs, outputs, targets, classes, mistakes)
        pictures.calibration(folder / "calibration.png", outputs, targets)


def _crossentropy(from_logits: bool, smoothing: float) -> Any:
    import keras

    if not smoothing:
        return keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)

    def loss(labels: Any, outputs: Any) -> Any:
        certain = keras.ops.one_hot(keras.ops.reshape(labels, (-1,)), outputs.shape[-1])
        return keras.losses.categorical_crossentropy(certain, outputs, from_logits, smoothing)

    return loss


def _normalized(probabilities: Outputs) -> NDArray[np.float64]:
    """Rows of float32 sum to one within 1e-6 only, which scikit-learn complains of."""
    precise = probabilities.astype(np.float64)
    return np.asarray(precise / precise.sum(axis=1, keepdims=True))


def calibration_error(probabilities: Outputs, targets: Array, bins: int) -> float:
    """Expected calibration error with equal-width bins (Guo et al., arXiv:1706.04599, equation 3).

    Args:
        probabilities: float32 `[n, classes]`.
        targets: class numbers `[n]`.
    """
    confidence = probabilities.max(axis=1)
    right = probabilities.argmax(axis=1) == targets
    gaps: NDArray[Any] = np.zeros(bins)
    np.add.at(gaps, np.minimum((confidence * bins).astype(int), bins - 1), confidence - right)
    return float(np.abs(gaps).sum() / len(targets))


def _write_confusion(path: Path, predicted: Array, targets: Array, classes: tuple[str, ...]) -> None:
    """One row an image, as DVC's confusion template counts them."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["actual", "predicted"])
        rows.writerows((classes[a], classes[p]) for a, p in zip(targets, predicted, strict=True))
