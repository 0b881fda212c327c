"""Fixtures that several packages of tests share."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import registries
import session_guard
from checkouts import Checkout, copy_checkout, make_checkout, retrain_once
from cluster import free_port, wait_for_port
from waiting import GENEROUS, QUICK_TURNS, wait_until

from flows.orchestration import server_address
from flows.orchestration.api_server import RECORDS_ONLY


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
    return (session_guard.shared("prefect", start_prefect) / "url").read_text()


def start_prefect(folder: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/api"
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)],
            env={**os.environ, **RECORDS_ONLY, **QUICK_TURNS, "PREFECT_HOME": str(folder)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    wait_for_port(port, server)
    wait_until(lambda: server_address.answers(url), server)
    (folder / "url").write_text(url)
