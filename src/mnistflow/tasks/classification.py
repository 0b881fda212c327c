"""Classification: the base class of tasks whose targets are labels, with metrics, calibration and McNemar's test."""

from __future__ import annotations

import csv
from abc import abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mnistflow.arrays import Array, Outputs
from mnistflow.files import write_json
from mnistflow.runtime.backend import jit_compile
from mnistflow.tasks.plots import charts
from mnistflow.tasks.task import Measurement, PairedTest, Parity, Task

if TYPE_CHECKING:
    import keras

LOGITS = "logits"
CALIBRATION_BINS = 15  # as in Guo et al., arXiv:1706.04599


class Classification(Task):
    """Base class of classifications. Targets are class indices `[n]`; the layer named `LOGITS` precedes the last."""

    @abstractmethod
    def probabilities(self, outputs: Outputs) -> Outputs:
        """Return the probability of each class, float32 `[n, classes]`, from outputs `[n, *output_shape]`."""

    @abstractmethod
    def crossentropy(self, from_logits: bool, smoothing: float) -> Any:
        """Return the Keras loss, with label smoothing as in Szegedy et al., arXiv:1512.00567."""

    def accuracy(self, from_logits: bool) -> Any:
        """Return the Keras metric `accuracy`."""
        return "accuracy"

    def to_logits(self, model: keras.Model) -> keras.Model:
        import keras

        return keras.Model(model.inputs, model.get_layer(LOGITS).output)

    def compile(self, model: keras.Model, optimizer: keras.Optimizer, label_smoothing: float = 0.0) -> None:
        from_logits = model.layers[-1].name == LOGITS
        model.compile(
            optimizer,
            loss=self.crossentropy(from_logits, label_smoothing),
            metrics=[self.accuracy(from_logits)],
            jit_compile=jit_compile(),
        )

    def compare_outputs(self, expected: Outputs, actual: Outputs, tie: float) -> Parity:
        gap = float(np.abs(expected - actual).max())
        expected_probabilities, actual_probabilities = self.probabilities(expected), self.probabilities(actual)
        differs = expected_probabilities.argmax(axis=1) != actual_probabilities.argmax(axis=1)
        best_two = np.sort(expected_probabilities, axis=1)[:, -2:]
        tied = best_two[:, 1] - best_two[:, 0] <= tie
        return Parity(gap, int((differs & ~tied).sum()), len(expected))

    def measure(self, outputs: Outputs, targets: Array, classes: tuple[str, ...]) -> Measurement:
        from sklearn.metrics import log_loss, roc_auc_score, top_k_accuracy_score

        probabilities = self.probabilities(outputs)
        labels = np.arange(len(classes))
        predicted = probabilities.argmax(axis=1)
        report = _class_report(predicted, targets, classes)
        metrics = {
            "accuracy": self.score(outputs, targets),
            "errors": float((predicted != targets).sum()),
            "loss": float(log_loss(targets, _normalized(probabilities), labels=labels)),
            "calibration_error": calibration_error(probabilities, targets),
            "macro_precision": float(report["macro avg"]["precision"]),
            "macro_recall": float(report["macro avg"]["recall"]),
            "macro_f1": float(report["macro avg"]["f1-score"]),
        }
        if len(classes) > 2:
            metrics["top_2_accuracy"] = float(top_k_accuracy_score(targets, probabilities, k=2, labels=labels))
        else:
            metrics["roc_auc"] = float(roc_auc_score(targets, probabilities[:, 1]))
        return Measurement(
            metrics,
            by_class={name: float(report[name]["recall"]) for name in classes},
            support={name: int(report[name]["support"]) for name in classes},
        )

    def score(self, outputs: Outputs, targets: Array) -> float:
        return float((self.probabilities(outputs).argmax(axis=1) == targets).mean())

    def paired_test(self, candidate: Outputs, champion: Outputs, targets: Array) -> PairedTest:
        """Exact McNemar test (McNemar 1947; Edwards 1948): a binomial test on the discordant examples."""
        from scipy.stats import binomtest

        candidate_correct = self.probabilities(candidate).argmax(axis=1) == targets
        champion_correct = self.probabilities(champion).argmax(axis=1) == targets
        wins = int((candidate_correct & ~champion_correct).sum())
        losses = int((~candidate_correct & champion_correct).sum())
        p_value = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
        return PairedTest("McNemar exact", wins, losses, float(p_value), favours_candidate=wins > losses)

    def report(
        self, folder: Path, inputs: Array, outputs: Outputs, targets: Array, classes: tuple[str, ...], mistakes: int
    ) -> None:
        """Write tables `classes.json` and `confusion.csv`, and plots `confusion.png` and `calibration.png`."""
        probabilities = self.probabilities(outputs)
        predicted = probabilities.argmax(axis=1)
        write_json(folder / "tables/classes.json", _class_report(predicted, targets, classes))
        _write_confusion(folder / "tables/confusion.csv", predicted, targets, classes)
        charts.confusion(folder / "pictures/confusion.png", predicted, targets, classes)
        confidence, correct = probabilities.max(axis=1), predicted == targets
        charts.calibration(folder / "pictures/calibration.png", confidence, correct, _confidence_bins(confidence))


def _class_report(predicted: Array, targets: Array, classes: tuple[str, ...]) -> dict[str, Any]:
    """Return precision, recall, F1 score and support of each class, and their means."""
    from sklearn.metrics import classification_report

    labels = np.arange(len(classes))
    report: dict[str, Any] = classification_report(
        targets, predicted, labels=labels, target_names=list(classes), output_dict=True, zero_division=0
    )
    return report


def _normalized(probabilities: Outputs) -> NDArray[np.float64]:
    """Return rows whose sums are 1 in float64: scikit-learn warns of the rounding errors of float32."""
    precise = probabilities.astype(np.float64)
    return np.asarray(precise / precise.sum(axis=1, keepdims=True))


def calibration_error(probabilities: Outputs, targets: Array) -> float:
    """Return the expected calibration error with equal-width bins (Guo et al., arXiv:1706.04599, equation 3).

    Args:
        probabilities: float32 `[n, classes]`.
        targets: class indices `[n]`.
    """
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == targets
    gaps: NDArray[Any] = np.zeros(CALIBRATION_BINS)
    np.add.at(gaps, _confidence_bins(confidence), confidence - correct)
    return float(np.abs(gaps).sum() / len(targets))


def _confidence_bins(confidence: Array) -> NDArray[np.int64]:
    """Return the index `[n]` of the bin, of equal width, that each confidence `[n]` belongs to."""
    return np.minimum((confidence * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)


def _write_confusion(path: Path, predicted: Array, targets: Array, classes: tuple[str, ...]) -> None:
    """Write one row per example, the format of DVC's confusion template."""
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["actual", "predicted"])
        rows.writerows((classes[a], classes[p]) for a, p in zip(targets, predicted, strict=True))
