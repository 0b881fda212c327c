"""A server with two versions of a model, to hold against the specification."""

import numpy as np
import pytest
import serving_kit as kit


@pytest.fixture(scope="session")
def images():
    return kit.digits()[0][:12]


@pytest.fixture(scope="session")
def classifiers():
    random = np.random.default_rng(0)
    weights = random.normal(scale=0.1, size=(2, 784, 10)).astype(np.float32)
    return {version: kit.Classifier([weight], [np.zeros(10, np.float32)]) for version, weight in enumerate(weights, 1)}


@pytest.fixture(scope="session")
def server(tmp_path_factory, images, classifiers):
    repository = tmp_path_factory.mktemp("models")
    for version, classifier in classifiers.items():
        kit.publish(repository, version, classifier, images)
    kit.set_champion(repository, 2)
    with kit.Server(repository) as running:
        yield running
