"""Random forest and extremely randomized trees."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from mnistflow.models.classical.classical import Classical, count_tree_parameters
from mnistflow.schema import Positive


class Forest(Classical):
    """Mean of randomized decision trees.

    Input float32 `[batch, n]`, output float32 `[batch, classes]`: the mean over trees of the class shares in a leaf.

    Attributes:
        trees: number of trees.
        thresholds: `best` searches them on a bootstrap sample per tree: a random forest (Breiman, Machine Learning 45,
            2001). `random` draws them on all examples: extremely randomized trees (Geurts et al., Machine Learning 63,
            2006).
        max_leaves: largest number of leaves of a tree, which limits the file size; None means no limit.
        min_leaf: smallest number of examples in a leaf.
        max_features: share of the inputs considered for a split; None means the square root of their number.
    """

    summary = "Random forest and extremely randomized trees"

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

    def count_parameters(self, fitted: Any) -> int:
        trees = [estimator.tree_ for estimator in fitted.estimators_]
        return sum(count_tree_parameters(tree.node_count, tree.n_leaves, len(fitted.classes_)) for tree in trees)
