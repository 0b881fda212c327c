"""Classical classifiers: the base class of families that scikit-learn fits."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from mnistflow.models.family import Family


class Classical(Family):
    """Base class of scikit-learn classifiers on flat inputs: float32 `[batch, prod(input_shape)]`, pixels in 0 to 1.

    Fitting has no epochs: of section `train`, only `seed` and `threads` are used.
    """

    learner = "scikit-learn"
    predicts_class_probabilities = True

    @abstractmethod
    def estimator(self, seed: int, threads: int) -> Any:
        """Return an unfitted classifier with `predict_proba`.

        Args:
            seed: of its random generators.
            threads: as scikit-learn's `n_jobs`; -1 means one per core.
        """

    @abstractmethod
    def count_parameters(self, fitted: Any) -> int:
        """Return the number of parameters of a fitted classifier."""


def count_tree_parameters(nodes: int, leaves: int, values: int) -> int:
    """Return the number of parameters of a tree: feature and threshold of each split, `values` of each leaf."""
    return int(2 * (nodes - leaves) + values * leaves)
