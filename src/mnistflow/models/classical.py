"""What the families of scikit-learn share."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from mnistflow.models.family import Family


class Classical(Family):
    """A classifier of scikit-learn on flat inputs: float32 `[batch, prod(shape)]`, pixels between 0 and 1.

    It is fitted in one go: of section `train` only `seed` and `threads` matter.
    """

    learner = "scikit-learn"
    answers_for_each_class = True

    @abstractmethod
    def estimator(self, seed: int, threads: int) -> Any:
        """Return an unfitted classifier with `predict_proba`; `threads` as scikit-learn's `n_jobs`."""

    @abstractmethod
    def count(self, fitted: Any) -> int:
        """Return of how many numbers a fitted classifier consists."""


def count_nodes(nodes: int, leaves: int, values: int) -> int:
    """Return of how many numbers a tree consists: feature and threshold of each split, `values` of each leaf."""
    return int(2 * (nodes - leaves) + values * leaves)
