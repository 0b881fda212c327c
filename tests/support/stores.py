"""Empty stores of MLflow and Prefect: a test session makes one of each, because their migrations take long."""

import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import chdir, closing
from pathlib import Path

import session_guard
from cluster import free_port, wait_for_port
from configured import configured
from waiting import QUICK_TURNS, wait_until

from flows.orchestration import server_address
from flows.orchestration.temporary_server import RECORDS_ONLY
from mnistflow.checkout import relocation
from mnistflow.paths import Paths
from mnistflow.tracking.client import mlflow_client

URL = "url"
DATABASE = "prefect.db"


def copy_mlflow(folder: Path) -> None:
    """Copy an empty store of MLflow into the `var/` of a folder."""
    if session_guard.is_running():
        shutil.copytree(session_guard.shared("empty-mlflow", make_mlflow) / "var/mlflow", folder / "var/mlflow")
        relocation.correct(Paths(folder, folder))


def make_mlflow(folder: Path) -> None:
    with chdir(folder), configured(Paths(folder, folder)):
        mlflow_client()


def copy_prefect(folder: Path) -> None:
    """Copy an empty database into the `var/` of a folder, for the Prefect server that a command starts there."""
    if session_guard.is_running():
        (folder / "var/prefect").mkdir(parents=True)
        made = session_guard.shared("prefect", start_prefect) / "empty" / DATABASE
        shutil.copyfile(made, folder / "var/prefect" / DATABASE)


def start_prefect(folder: Path) -> None:
    """Start the Prefect server that the session shares, and note its URL; copy its database while it is empty."""
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
    (folder / "empty").mkdir()
    with (
        closing(sqlite3.connect(folder / DATABASE)) as own,
        closing(sqlite3.connect(folder / "empty" / DATABASE)) as copy,
    ):
        own.backup(copy)
    (folder / URL).write_text(url)
