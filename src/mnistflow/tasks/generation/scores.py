"""Scores of generated images: Fréchet distance, agreement of a classifier, and distance to the training images."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from mnistflow.arrays import Array

FOLDS = 20
SHRINKAGE = 0.01  # of the covariance, towards a multiple of the identity: classes of few images have a singular one
CHUNK = 250  # images whose distances to all training images are in memory at once


def frechet_distance(features: Array, others: Array) -> float:
    """Return the Fréchet distance of two sets of features, `[n, d]` and `[m, d]`, as of two normal distributions.

    It is zero for equal means and covariances (Heusel et al., arXiv:1706.08500). With few images it is too large, even
    for two sets of real ones: compare it with such a distance, and at the same number of images.
    """
    difference = features.mean(axis=0, dtype=np.float64) - others.mean(axis=0, dtype=np.float64)
    covariance, other = _covariance(features), _covariance(others)
    values, vectors = np.linalg.eigh(covariance)
    root = (vectors * np.sqrt(values.clip(0))) @ vectors.T
    shared = np.sqrt(np.linalg.eigvalsh(root @ other @ root).clip(0)).sum()
    return float(difference @ difference + max(np.trace(covariance) + np.trace(other) - 2 * shared, 0.0))


def fold_distances(features: Array, others: Array) -> Array:
    """Return the Fréchet distance in each of `FOLDS` folds of two sets of features of the same size, `[n, d]`."""
    count = len(features)
    folds = [np.arange(number, count, FOLDS) for number in range(min(FOLDS, max(count // 2, 1)))]
    return np.array([frechet_distance(features[fold], others[fold]) for fold in folds])


def classify(features: Array, known: Array, labels: Array, classes: int) -> Array:
    """Return the classes of features `[n, d]` by linear discriminant analysis of known ones.

    Args:
        features: to be classified.
        known: features of images of known classes, `[m, d]`.
        labels: their classes, `[m]`; those without an image are never returned.
        classes: number of classes.
    """
    present = [label for label in range(classes) if (labels == label).any()]
    means = np.stack([known[labels == label].mean(axis=0, dtype=np.float64) for label in present])
    within = _covariance(known - means[np.searchsorted(present, labels)])
    size = len(within)
    shrunk = (1 - SHRINKAGE) * within + SHRINKAGE * max(np.trace(within) / size, 1e-12) * np.eye(size)
    weights = np.linalg.solve(shrunk, means.T)
    scores = features @ weights - 0.5 * (means.T * weights).sum(axis=0)
    return np.asarray(np.take(present, scores.argmax(axis=1)))


def nearest_distances(images: Array, training: Array) -> Array:
    """Return the Euclidean distance of each image to the training image nearest to it, in levels of white.

    Args:
        images: uint8 `[n, height, width]`.
        training: uint8 `[m, height, width]`.
    """
    known = training.reshape(len(training), -1).astype(np.float32) / 255
    squares = (known**2).sum(axis=1)

    def chunks() -> Iterator[Array]:
        for start in range(0, len(images), CHUNK):
            some = images[start : start + CHUNK].reshape(-1, known.shape[1]).astype(np.float32) / 255
            least = (squares - 2 * (some @ known.T)).min(axis=1) + (some**2).sum(axis=1)
            yield np.sqrt(least.clip(0))

    return np.concatenate(list(chunks()))


def _covariance(features: Array) -> Array:
    centred = features - features.mean(axis=0, dtype=np.float64)
    return np.asarray(centred.T @ centred / max(len(features) - 1, 1))
