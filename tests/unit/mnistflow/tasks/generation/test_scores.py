"""Scores of generated images, by hand."""

import numpy as np
import pytest
from scipy.linalg import sqrtm

from mnistflow.tasks.generation import scores


def test_the_frechet_distance_is_that_of_two_normal_distributions() -> None:
    generator = np.random.default_rng(0)
    one, other = generator.normal(size=(500, 5)), generator.normal(1, 2, (400, 5)) @ generator.normal(size=(5, 5))
    covariances = np.cov(one.T), np.cov(other.T)
    shift = one.mean(axis=0) - other.mean(axis=0)
    expected = shift @ shift + np.trace(sum(covariances) - 2 * sqrtm(covariances[0] @ covariances[1]).real)
    assert scores.frechet_distance(one, other) == pytest.approx(expected)
    assert scores.frechet_distance(one, one) == pytest.approx(0, abs=1e-9)
    assert scores.frechet_distance(one, one + 3) == pytest.approx(5 * 3**2)


def test_it_is_a_number_for_a_single_image() -> None:
    assert scores.frechet_distance(np.zeros((1, 3)), np.ones((1, 3))) == pytest.approx(3)
    assert scores.fold_distances(np.zeros((1, 3)), np.ones((1, 3))) == pytest.approx([3])


def test_folds_cover_all_images_once() -> None:
    features = np.random.default_rng(0).normal(size=(203, 4))
    distances = scores.fold_distances(features, features + 2)
    assert distances.shape == (scores.FOLDS,)
    assert distances == pytest.approx(16)


def test_discriminant_analysis_finds_the_classes_of_its_own_features_and_no_class_without_an_image() -> None:
    generator = np.random.default_rng(0)
    labels = np.array([0, 2, 3] * 30)
    centres = 10 * generator.normal(size=(4, 6))
    known, new = (centres[labels] + generator.normal(size=(90, 6)) for _ in range(2))
    assert (scores.classify(new, known, labels, 4) == labels).all()


def test_the_nearest_training_image() -> None:
    training = np.zeros((3, 2, 2), np.uint8)
    training[1], training[2, 0, 0] = 255, 51
    images = np.zeros((2, 2, 2), np.uint8)
    images[1, 0, 0] = 102
    assert scores.nearest_distances(images, training) == pytest.approx([0, 0.2], abs=1e-3)
