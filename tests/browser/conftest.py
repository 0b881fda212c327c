"""Fixtures: a server with a classifier that reads handwriting, and a real browser."""

from pathlib import Path

import browsing
import numpy as np
import pytest
import serving_kit as kit

CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """Serve a small network, trained on MNIST where it is at hand, else on scikit-learn's digits."""
    images, labels = kit.mnist("train", 20_000) or kit.digits()
    dataset = "mnist" if len(images) == 20_000 else "digits"
    repository = tmp_path_factory.mktemp("models")
    name = f"{dataset}-classifier"
    kit.publish(repository, 1, kit.fit_network(images, labels), images, name=name, dataset=dataset)
    kit.set_champion(repository, 1, name)
    with kit.Server(repository, "--inference-log", str(repository / "inferences.db")) as running:
        yield running


@pytest.fixture(scope="module")
def two_models(tmp_path_factory):
    """Serve a classifier of digits, and a newer model with other classes, which is to be chosen."""
    images, labels = kit.digits()
    repository = tmp_path_factory.mktemp("two") / "models"
    kit.publish(repository, 1, kit.fit_network(images, labels), images, name="digits-classifier")
    shapes = np.select([labels == 1, np.isin(labels, [0, 6, 8, 9])], [0, 1], default=2)
    unsure = {"coverage": 0.99, "set_threshold": 0, "false_refusals": 0.01, "refusal_threshold": 1}
    changes = {"classes": ["up", "round", "other"], "created": "2099-01-01", "dataset": "arrows", "doubt": unsure}
    classifier = kit.linear_classifier(images, shapes)
    kit.publish(repository, 7, classifier, images, name="arrows-classifier", preprocessing="digit", **changes)
    for name, version in (("digits-classifier", 1), ("arrows-classifier", 7)):
        kit.set_champion(repository, version, name)
    with kit.Server(repository) as running:
        yield running


@pytest.fixture(scope="module")
def browser():
    program = browsing.chromium()
    if program is None:
        pytest.skip("no chromium on the PATH; mend it with: apt-get install chromium")
    from playwright.sync_api import expect

    expect.set_options(timeout=browsing.PAGE_SECONDS * 1000)
    with browsing.running(program) as running:
        yield running


@pytest.fixture(scope="session")
def screenshots():
    """The folder for pictures of the page, ignored by git."""
    folder = CHECKOUT / "var/screenshots"
    folder.mkdir(parents=True, exist_ok=True)
    return folder
