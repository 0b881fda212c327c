"""Forests of decision trees."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from mnistflow.models.classical import Classical, count_nodes
from mnistflow.schema import Positive


class Forest(Classical):
    """The mean of many deep trees, each grown with chance in it.

    Input float32 `[batch, n]`, output float32 `[batch, classes]`: the mean of the shares of each class in the leaves.

    Attributes:
        thresholds: `best` searches them, on a bootstrap sample for each tree (Breiman, Machine Learning 45, 2001);
            `random` draws them, on all images (Geurts et al., Machine Learning 63, 2006).
        max_leaves: of a tree; bounds the size of the file.
        max_features: share of the inputs that a split chooses from; None: the square root of their number.
    """

    trees: Positive = 100
    thresholds: Literal["best", "random"] = "best"
    max_leaves: Annotated[int, Field(gt=1)] | None = 2000
    min_leaf: Positive = 1
    max_features: Annotated[float, Field(gt=0, le=1)] | None = None

    def estimator(self, seed: int, threads: int) -> Any:
        from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier

        kind = RandomForestClassifier if self.thresholds == "best" else ExtraTreesClassifier
        return kind(
            self.trees,
            max_leaf_nodes=self.max_leaves,
            min_samples_leaf=self.min_leaf,
            max_features=self.max_features or "sqrt",
            random_state=seed,
            n_jobs=threads,
        )

    def count(self, fitted: Any) -> int:
        trees = [estimator.tree_ for estimator in fitted.estimators_]
        return sum(count_nodes(tree.node_count, tree.n_leaves, len(fitted.classes_)) for tree in trees)
