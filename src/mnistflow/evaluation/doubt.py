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
    covered, size = coverage(doubt, outputs, targets)
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


def coverage(doubt: Doubt, outputs: Outputs, targets: Array) -> tuple[Array, float]:
    """Return whether the class of each example is in its prediction set, bool `[n]`, and the mean size of the sets.

    Args:
        doubt: thresholds of the model.
        outputs: probabilities, float32 `[n, classes]`.
        targets: class indices `[n]`.
    """
    sets = doubt.prediction_sets(outputs)
    return np.asarray(sets[np.arange(len(targets)), targets]), float(sets.sum(axis=1).mean())


def detection(doubt: Doubt, outputs: Outputs, outliers: Outputs) -> tuple[float, float]:
    """Return the area under the ROC curve that tells outliers by their confidence, and the share of refused ones.

    Args:
        doubt: thresholds of the model.
        outputs: probabilities for examples of the classes, float32 `[n, classes]`.
        outliers: probabilities for images of no class, float32 `[m, classes]`.
    """
    from sklearn.metrics import roc_auc_score

    is_outlier = np.repeat([0, 1], [len(outputs), len(outliers)])
    uncertainty = 1 - np.concatenate([outputs.max(axis=1), outliers.max(axis=1)])
    return float(roc_auc_score(is_outlier, uncertainty)), float(doubt.is_refused(outliers).mean())


def _under_corruptions(doubt: Doubt, robustness: Robustness) -> dict[str, float]:
    if not robustness.outputs:
        return {}
    means: dict[str, dict[str, float]] = {"robust_set_coverage": {}, "robust_set_size": {}}
    for kind, severities in robustness.outputs.items():
        covered, sizes = zip(*(coverage(doubt, outputs, robustness.targets) for outputs in severities), strict=True)
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
    metrics: dict[str, float] = {}
    for kind, images in outliers.kinds(input_shape).items():
        auroc, refused = detection(doubt, outputs, predict(images))
        metrics |= {f"outlier_auroc.{kind}": auroc, f"outlier_detected.{kind}": refused}
    return metrics
