"""Fixtures that several packages of tests share."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import session_guard
from checkouts import QUICK, Checkout, make_checkout, write_params
from waiting import GENEROUS


def pytest_configure() -> None:
    """Let nothing outlive the tests, and nothing fail because the machine is busy."""
    session_guard.start()
    for name, value in GENEROUS.items():
        os.environ.setdefault(name, value)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests of a file run in one process, where they share fixtures, unless they name another group.

    The longest begin first: those of a retrained checkout, then what else is slow.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.nodeid.partition("::")[0]))
    items.sort(
        key=lambda item: ("retrained" not in getattr(item, "fixturenames", ()), not item.get_closest_marker("slow"))
    )


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
    write_params(made, **QUICK, **{"gate.significance": "1e-9"})  # none becomes champion by chance
    made.run("retrain")
    yield made
    made.close()
