"""Fixtures that several packages of tests share."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from checkouts import QUICK, Checkout, make_checkout, write_params


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    made = make_checkout(tmp_path / "checkout")
    yield made
    made.close()


@pytest.fixture(scope="session")
def retrained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout after one whole retraining with the quick settings as its params.yaml.

    Tests may add runs and versions to it; whoever moves the champion brings version 1 back.
    """
    made = make_checkout(tmp_path_factory.mktemp("retrained") / "checkout")
    write_params(made, **QUICK)
    made.run("retrain")
    yield made
    made.close()
