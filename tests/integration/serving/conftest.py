"""Fixtures: real digits, two classifiers that differ, and a repository that serves the first."""

import itertools
from pathlib import Path

import numpy as np
import pytest
import serving_kit as kit


@pytest.fixture(scope="session")
def data() -> tuple[np.ndarray, np.ndarray]:
    return kit.digits()


@pytest.fixture(scope="session")
def first(data: tuple[np.ndarray, np.ndarray]) -> kit.Classifier:
    return kit.linear_classifier(*data)


@pytest.fixture(scope="session")
def second(data: tuple[np.ndarray, np.ndarray]) -> kit.Classifier:
    return kit.linear_classifier(*data, regularisation=0.001)


@pytest.fixture(scope="session")
def heavy() -> kit.Classifier:
    """A network of 9 million weights, which takes milliseconds to read from memory."""
    random = np.random.default_rng(0)
    sizes = (784, 3000, 3000, 10)
    weights = [random.normal(scale=0.01, size=shape).astype(np.float32) for shape in itertools.pairwise(sizes)]
    return kit.Classifier(weights, [np.zeros(size, np.float32) for size in sizes[1:]])


@pytest.fixture
def repository(tmp_path: Path, data: tuple[np.ndarray, np.ndarray], first: kit.Classifier) -> Path:
    kit.publish(tmp_path / "models", 1, first, data[0])
    kit.set_champion(tmp_path / "models", 1)
    return tmp_path / "models"
