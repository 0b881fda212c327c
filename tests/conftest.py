"""Fixtures that several packages of tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import registries
import session_guard
import stores
from checkouts import Checkout, copy_checkout, make_checkout, retrain_once
from waiting import FRUGAL, GENEROUS

LONGEST = ("test_retrain", "test_sweep", "test_learning", "test_search")


def pytest_configure() -> None:
    """Let nothing outlive the tests, and nothing fail because the machine is busy."""
    session_guard.start()
    for name, value in {**GENEROUS, **FRUGAL}.items():
        os.environ.setdefault(name, value)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests of a file run in one process, where they share fixtures, unless they name another group.

    The longest begin first, then those of a retrained checkout, which test_retrain has made by then, then what else is
    slow.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))

    def rank(item: pytest.Item) -> tuple[int, bool, bool]:
        place = LONGEST.index(item.path.stem) if item.path.stem in LONGEST else len(LONGEST)
        is_retrained = "retrained" in getattr(item, "fixturenames", ())
        return place, not is_retrained, not item.get_closest_marker("slow")

    items.sort(key=rank)


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    made = make_checkout(tmp_path / "checkout")
    yield made
    made.close()


@pytest.fixture(scope="module")
def retrained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout after one whole retraining with the quick settings as its params.yaml.

    A module may add runs and versions to its copy; whoever moves the champion brings version 1 back.
    """
    original = session_guard.shared("retrained", retrain_once)
    made = copy_checkout(original / "checkout", tmp_path_factory.mktemp("retrained") / "checkout")
    yield made
    made.close()


@pytest.fixture(scope="session")
def mlflow_uri() -> str:
    """What `MLFLOW_TRACKING_URI` names an MLflow server by that all tests share: each uses names of its own there."""
    return (session_guard.shared("mlflow", registries.start_server) / "url").read_text()


@pytest.fixture(scope="session")
def prefect_api() -> str:
    """What `PREFECT_API_URL` names a Prefect server by, to which tests report where a server of their own does not
    matter."""
    return (session_guard.shared("prefect", stores.start_prefect) / stores.URL).read_text()
