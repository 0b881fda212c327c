"""Fixtures: a trained classifier, a repository with it, a running server."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

import serving_kit as kit


@pytest.fixture(scope="session")
def images():
    return kit.digits()[0]


@pytest.fixture(scope="session")
def labels():
    return kit.digits()[1]


@pytest.fixture(scope="session")
def classifier(images, labels):
    return kit.linear_classifier(images, labels)
