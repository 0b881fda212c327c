"""Doubt of a classifier: prediction sets with a stated coverage, and the refusal of inputs that show no class.

Both thresholds come from held-out examples, by split conformal prediction (Vovk, Gammerman and Shafer, Algorithmic
Learning in a Random World, 2005; Angelopoulos and Bates, arXiv:2107.07511).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Self

import numpy as np

from mnistflow.arrays import Array, Outputs
from mnistflow.files import read_json

# The least confident examples, which the threshold of prediction sets is fitted on: a share of all, or at least this
# many. A model that is right more often than the coverage asks for would reach it with single classes, however doubtful
# an example; among doubtful examples it has to name alternatives.
DOUBTFUL_SHARE = 0.05
MIN_DOUBTFUL = 200


@dataclass(frozen=True)
class Doubt:
    """Thresholds of a classifier's doubt; serving uses the same rules.

    Attributes:
        coverage: share of the doubtful examples whose class is in the prediction set; of all examples, it is larger.
        set_threshold: the prediction set is the most probable class, and all that are at least as probable as this.
        false_refusals: share of the examples that are refused although they show a class.
        refusal_threshold: an input is refused, or uncertain, if no class is at least as probable as this.
    """

    coverage: float
    set_threshold: float
    false_refusals: float
    refusal_threshold: float

    @classmethod
    def fit(cls, probabilities: Outputs, labels: Array, *, coverage: float, false_refusals: float) -> Self:
        """Fit the thresholds to held-out examples.

        Args:
            probabilities: calibrated, float32 `[n, classes]`.
            labels: class indices `[n]`.
            coverage: of the prediction sets, below 1.
            false_refusals: share of the examples that may be refused, below 1.
        """
        confidence = np.sort(probabilities.max(axis=1))
        doubtful = np.argsort(probabilities.max(axis=1))[: max(MIN_DOUBTFUL, round(DOUBTFUL_SHARE * len(labels)))]
        of_labels = np.sort(probabilities[doubtful, labels[doubtful]])
        return cls(
            coverage=coverage,
            set_threshold=_lower_quantile(of_labels, 1 - coverage),
            false_refusals=false_refusals,
            refusal_threshold=_lower_quantile(confidence, false_refusals),
        )

    @classmethod
    def read(cls, exported: Path) -> Self | None:
        """Return the thresholds of an exported model; None if it has no class probabilities.

        Raises:
            DataError: `export.json` is missing or damaged.
        """
        thresholds = read_json(exported / "export.json")["doubt"]
        return thresholds and cls(**thresholds)

    def prediction_sets(self, probabilities: Outputs) -> Array:
        """Return which classes are in the prediction set of each example: bool `[n, classes]`."""
        largest = probabilities.max(axis=1, keepdims=True)
        return np.asarray((probabilities >= self.set_threshold) | (probabilities >= largest))

    def is_refused(self, probabilities: Outputs) -> Array:
        """Return which examples are refused: bool `[n]`."""
        return np.asarray(probabilities.max(axis=1) < self.refusal_threshold)


def _lower_quantile(values: Array, share: float) -> float:
    """Return the value that a new one is below with at most this probability; 0 if there are too few values.

    Args:
        values: ascending, float32 `[n]`.
        share: 0 to 1.
    """
    rank = len(values) + 1 - ceil((len(values) + 1) * (1 - share))
    return float(values[rank - 1]) if rank >= 1 else 0.0
