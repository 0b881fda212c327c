"""Suspicion: labels that are likely to be wrong, by confident learning (Northcutt, Jiang and Chuang, arXiv:1911.00068).

Each image gets class probabilities from its nearest neighbours among the others (out of fold), which learn a new kind
of image from few examples and need no training. A label is suspicious if the neighbours disagree more than they do on
average for that class.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mnistflow.arrays import Array
from mnistflow.splits import Split

NEIGHBOURS = 10
FOLDS = 5
MOST_OFFICIAL = 4000  # examples of the official training split among which neighbours are looked for
# Fewer reports than this for each class are judged by the thresholds of official examples, which hold less back.
ENOUGH_OF_CLASS = 10


def likelier_labels(accepted: Split, reported: Split, official: Split) -> dict[int, int]:
    """Return the rows of suspicious labels -> the class that their image looks like.

    Args:
        accepted: reports that a review has accepted.
        reported: those to examine; uint8 images `[n, height, width]`.
        official: the official training split.
    """
    if not len(reported):
        return {}
    from cleanlab.filter import find_label_issues

    known = _sample(official)
    labels = np.concatenate([reported.targets, accepted.targets, known.targets])
    images = np.concatenate([reported.inputs, accepted.inputs, known.inputs])
    probabilities = _out_of_fold(images, labels)
    smallest = np.bincount(reported.targets, minlength=probabilities.shape[1]).min()
    judged = len(reported) if smallest >= ENOUGH_OF_CLASS else len(labels)
    issues = find_label_issues(labels[:judged], probabilities[:judged], filter_by="both", n_jobs=1)
    likelier = probabilities.argmax(axis=1)
    return {int(row): int(likelier[row]) for row in np.flatnonzero(issues[: len(reported)])}


def _sample(official: Split) -> Split:
    """Return a share of the official examples, evenly spread."""
    step = max(1, -(-len(official) // MOST_OFFICIAL))
    return official.take(np.arange(0, len(official), step))


def _out_of_fold(images: Array, labels: Array) -> Any:
    """Return class probabilities `[n, classes]`, each from examples of the other folds."""
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.neighbors import KNeighborsClassifier

    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    pixels = images.reshape(len(images), -1).astype(np.float32) / 255
    return cross_val_predict(KNeighborsClassifier(NEIGHBOURS), pixels, labels, cv=folds, method="predict_proba")
