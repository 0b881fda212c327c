"""Suspicion: labels that are likely to be wrong, by confident learning (Northcutt, Jiang and Chuang, arXiv:1911.00068).

Each image gets class probabilities from its nearest neighbours among the others, which learn a new kind of image from
few examples and need no training. A label is suspicious if the neighbours disagree more than they do on average for
that class. Wrong labels mislead the neighbours of one another, so this is repeated: in each further pass, images vote
that the pass before has not found suspicious.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from mnistflow.arrays import Array
from mnistflow.splits import Split

NEIGHBOURS = 10  # that vote
CONSIDERED = 40  # nearest images, among which those that vote are found
PASSES = 3
MAX_OFFICIAL = 12_000  # examples of the official training split among which neighbours are looked for
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
    classes = int(labels.max()) + 1
    smallest = np.bincount(reported.targets, minlength=classes).min()
    judged = len(reported) if smallest >= ENOUGH_OF_CLASS else len(labels)
    nearest = _nearest(images, judged)
    is_suspicious = np.zeros(len(labels), bool)
    for _ in range(PASSES):
        probabilities = _votes(nearest, labels, is_suspicious, classes)
        issues = find_label_issues(labels[:judged], probabilities, filter_by="both", n_jobs=1)
        is_suspicious[: len(reported)] = issues[: len(reported)]
    likelier = probabilities.argmax(axis=1)
    return {int(row): int(likelier[row]) for row in np.flatnonzero(is_suspicious)}


def _sample(official: Split) -> Split:
    """Return a share of the official examples, evenly spread."""
    step = max(1, -(-len(official) // MAX_OFFICIAL))
    return official.take(np.arange(0, len(official), step))


def _nearest(images: Array, judged: int) -> Any:
    """Return the rows of the nearest other images `[judged, neighbours]`, the nearest first, for the first images."""
    from sklearn.neighbors import NearestNeighbors

    pixels = images.reshape(len(images), -1).astype(np.float32) / 255
    search = NearestNeighbors(n_neighbors=min(CONSIDERED + 1, len(images)), algorithm="brute").fit(pixels)
    found = search.kneighbors(pixels[:judged], return_distance=False)
    is_itself = found == np.arange(judged)[:, np.newaxis]
    # Of more than so many copies of one picture, none of those found need be the picture itself.
    is_itself[~is_itself.any(axis=1), -1] = True
    return found[~is_itself].reshape(judged, -1)


def _votes(nearest: Any, labels: Array, is_suspicious: Array, classes: int) -> Any:
    """Return class probabilities `[n, classes]`: the shares of the nearest images whose labels are not suspicious.

    Args:
        nearest: rows of the nearest images `[n, neighbours]`, the nearest first.
        labels: of all images.
        is_suspicious: whose labels do not count; all of them count where no other is near.
        classes: number of classes.
    """
    counts = ~is_suspicious[nearest]
    counts[~counts.any(axis=1)] = True
    counts &= np.cumsum(counts, axis=1) <= NEIGHBOURS
    voted = labels[nearest]
    found = np.stack([(counts & (voted == label)).sum(axis=1) for label in range(classes)], axis=1)
    return found / found.sum(axis=1, keepdims=True)
