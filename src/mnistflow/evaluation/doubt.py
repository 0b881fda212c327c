"""Doubt: coverage and size of prediction sets, and the detection of pictures that show none of the classes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from mnistflow.arrays import Array, Outputs
from mnistflow.evaluation import outliers
from mnistflow.evaluation.robustness import Robustness
from mnistflow.splits import Dataset
from mnistflow.tasks.doubt import Doubt


def measure(
    doubt: Doubt,
    predict: Callable[[Array], Outputs],
    data: Dataset,
    outputs: Outputs,
    robustness: Robustness,
) -> dict[str, float]:
    """Return metrics of a classifier's doubt on the test split.

    `set_coverage` is the share of examples whose class is in the prediction set (`set_coverage.class.<name>` of each
    class), `set_size` the mean number of classes in it, and `refused` the share of refused examples.
    `robust_set_coverage` and `robust_set_size` are means over all corruptions, and `robust_set_coverage.<corruption>`
    those of one. For images, `outlier_auroc.<kind>` and `outlier_detected.<kind>` tell outliers by their confidence:
    the area under the ROC curve, and the share of refused ones.

    Args:
        doubt: thresholds of the model.
        predict: maps inputs `[n, *input_shape]` to probabilities `[n, classes]`.
        data: a prepared data set.
        outputs: of the test split, `[n, classes]`.
        robustness: outputs under corruptions.
    """
    targets = data.test.targets
    covered, size = _covered(doubt, outputs, targets), float(doubt.prediction_sets(outputs).sum(axis=1).mean())
    return {
        "set_coverage": float(covered.mean()),
        **{
            f"set_coverage.class.{name}": float(covered[targets == label].mean())
            for label, name in enumerate(data.classes)
            if (targets == label).any()
        },
        "set_size": size,
        "refused": float(doubt.is_refused(outputs).mean()),
        **_under_corruptions(doubt, robustness),
        **_outliers(doubt, predict, data.input_shape, outputs),
    }


def _covered(doubt: Doubt, outputs: Outputs, targets: Array) -> Array:
    sets = doubt.prediction_sets(outputs)
    return np.asarray(sets[np.arange(len(targets)), targets])


def _under_corruptions(doubt: Doubt, robustness: Robustness) -> dict[str, float]:
    if not robustness.outputs:
        return {}
    means: dict[str, dict[str, float]] = {"robust_set_coverage": {}, "robust_set_size": {}}
    for kind, severities in robustness.outputs.items():
        covered = [_covered(doubt, outputs, robustness.targets).mean() for outputs in severities]
        sizes = [doubt.prediction_sets(outputs).sum(axis=1).mean() for outputs in severities]
        means["robust_set_coverage"][kind.name] = float(np.mean(covered))
        means["robust_set_size"][kind.name] = float(np.mean(sizes))
    return {
        **{name: float(np.mean(list(by_kind.values()))) for name, by_kind in means.items()},
        **{f"{name}.{kind}": value for name, by_kind in means.items() for kind, value in by_kind.items()},
    }


def _outliers(
    doubt: Doubt, predict: Callable[[Array], Outputs], input_shape: tuple[int, ...], outputs: Outputs
) -> dict[str, float]:
    if len(input_shape) != 2:
        return {}
    from sklearn.metrics import roc_auc_score

    metrics = {}
    for kind, images in outliers.kinds(input_shape).items():
        found = predict(images)
        is_outlier = np.repeat([0, 1], [len(outputs), len(found)])
        uncertainty = 1 - np.concatenate([outputs.max(axis=1), found.max(axis=1)])
        metrics[f"outlier_auroc.{kind}"] = float(roc_auc_score(is_outlier, uncertainty))
        metrics[f"outlier_detected.{kind}"] = float(doubt.is_refused(found).mean())
    return metrics
