"""Gradient boosting of decision trees."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from mnistflow.models.classical.classical import Classical, count_tree_parameters
from mnistflow.schema import Penalty, Positive


class Boosting(Classical):
    """Gradient boosting: each round fits one small tree per class to the gradient of the loss.

    Input float32 `[batch, n]`, output float32 `[batch, classes]`: the softmax of the sums of the leaf values. Splits
    are searched on histograms of the inputs (Ke et al., LightGBM, NIPS 2017), as in
    `sklearn.ensemble.HistGradientBoostingClassifier`.

    Attributes:
        rounds: number of trees per class.
        learning_rate: factor of each tree's contribution.
        max_leaves: largest number of leaves of a tree.
        min_leaf: smallest number of examples in a leaf.
        l2: L2 penalty on leaf values.
        max_bins: number of bins of a histogram.
        max_features: share of the inputs considered for a split.
    """

    summary = "Gradient boosting of decision trees"

    rounds: Positive = 60
    learning_rate: Annotated[float, Field(gt=0)] = 0.3
    max_leaves: Annotated[int, Field(gt=1)] = 31
    min_leaf: Positive = 20
    l2: Penalty = 0.0
    max_bins: Annotated[int, Field(ge=2, le=255)] = 64
    max_features: Annotated[float, Field(gt=0, le=1)] = 0.1

    def estimator(self, seed: int, threads: int) -> Any:  # noqa: ARG002 - uses OpenMP threads, which the learner limits
        from sklearn.ensemble import HistGradientBoostingClassifier

        return HistGradientBoostingClassifier(
            max_iter=self.rounds,
            learning_rate=self.learning_rate,
            max_leaf_nodes=self.max_leaves,
            min_samples_leaf=self.min_leaf,
            l2_regularization=self.l2,
            max_bins=self.max_bins,
            max_features=self.max_features,
            early_stopping=False,
            random_state=seed,
        )

    def count_parameters(self, fitted: Any) -> int:
        # scikit-learn has no public attribute for the trees.
        trees = [tree for round_ in fitted._predictors for tree in round_]
        return sum(count_tree_parameters(len(tree.nodes), tree.get_n_leaf_nodes(), 1) for tree in trees)
