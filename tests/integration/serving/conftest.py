"""Fixtures: real digits, two classifiers that differ, and a repository that serves the first."""

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


@pytest.fixture
def repository(tmp_path: Path, data: tuple[np.ndarray, np.ndarray], first: kit.Classifier) -> Path:
    kit.publish(tmp_path / "models", 1, first, data[0])
    kit.crown(tmp_path / "models", 1)
    return tmp_path / "models"
