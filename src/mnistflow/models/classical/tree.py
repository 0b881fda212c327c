"""Single decision tree."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from mnistflow.models.classical.classical import Classical, count_tree_parameters
from mnistflow.schema import Positive


class Tree(Classical):
    """A decision tree (CART; Breiman et al., Classification and Regression Trees, 1984).

    Input float32 `[batch, n]`, output float32 `[batch, classes]`: the class shares in a leaf. The baseline of the
    families `forest` and `boosting`.

    Attributes:
        criterion: impurity that each split reduces most.
        max_leaves: largest number of leaves, of which those that reduce the impurity most are grown first; None means
            no limit.
        min_leaf: smallest number of examples in a leaf.
        pruning: least reduction of the impurity for each leaf of a branch that stays (cost-complexity pruning).
    """

    summary = "Single decision tree"

    criterion: Literal["gini", "entropy"] = "entropy"
    max_leaves: Annotated[int, Field(gt=1)] | None = 3000
    min_leaf: Positive = 2
    pruning: Annotated[float, Field(ge=0)] = 0.0

    def estimator(self, seed: int, threads: int) -> Any:  # noqa: ARG002
        from sklearn.tree import DecisionTreeClassifier

        return DecisionTreeClassifier(
            criterion=self.criterion,
            max_leaf_nodes=self.max_leaves,
            min_samples_leaf=self.min_leaf,
            ccp_alpha=self.pruning,
            random_state=seed,
        )

    def count_parameters(self, fitted: Any) -> int:
        return count_tree_parameters(fitted.tree_.node_count, fitted.tree_.n_leaves, len(fitted.classes_))
