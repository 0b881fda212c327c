"""What a kill at the worst moments of a restoration leaves, and the next restoration makes of it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mnistflow.errors import DataError, MnistflowError
from mnistflow.paths import Paths
from mnistflow.upkeep import backup, restoration

# Restores, and kills itself when Python is about to rename or remove a folder with a name that ends so.
RESTORE = """
import os, signal, sys
from pathlib import Path
from mnistflow.paths import Paths
from mnistflow.upkeep import restoration

def kill(event, arguments):
    if event == sys.argv[3] and str(arguments[0]).endswith(sys.argv[4]):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
home = Path(sys.argv[1])
restoration.restore(Paths(home, home), Path(sys.argv[2]), replace=True)
"""
BEFORE_THE_REPLACEMENT = ("os.rename", ".tmp")
BEFORE_THE_REMOVAL = ("shutil.rmtree", ".old")


def checkout(folder: Path, content: str) -> Paths:
    paths = Paths(folder, folder)
    paths.mlflow.mkdir(parents=True)
    (paths.mlflow / "file").write_text(content)
    return paths


def content(paths: Paths) -> str:
    return (paths.mlflow / "file").read_text()


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    target = tmp_path / "backup.tar.gz"
    backup.write(checkout(tmp_path / "original", "archived"), target)
    return target


def kill_restoration(folder: Path, archive: Path, event: str, suffix: str) -> Paths:
    paths = checkout(folder, "former")
    command = [sys.executable, "-c", RESTORE, str(folder), str(archive), event, suffix]
    assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
    return paths


def test_a_var_that_was_not_replaced_yet_comes_back(archive: Path, tmp_path: Path) -> None:
    paths = kill_restoration(tmp_path / "copy", archive, *BEFORE_THE_REPLACEMENT)
    assert not paths.var.exists()
    (paths.var / "prefect").mkdir(parents=True)
    (paths.var / "up.lock").touch()  # by a command that was run since
    with pytest.raises(MnistflowError, match="is not empty"):
        restoration.restore(paths, archive, replace=False)
    assert content(paths) == "former"
    (tmp_path / "damaged").touch()
    with pytest.raises(DataError):
        restoration.restore(paths, tmp_path / "damaged", replace=True)
    assert content(paths) == "former"
    restoration.restore(paths, archive, replace=True)
    assert content(paths) == "archived" and not list(paths.checkout.glob(".var.*"))


def test_the_former_var_is_removed(archive: Path, tmp_path: Path) -> None:
    paths = kill_restoration(tmp_path / "copy", archive, *BEFORE_THE_REMOVAL)
    assert content(paths) == "archived"
    (former,) = restoration.former_contents(paths)
    assert restoration.is_replaced(former)
    restoration.restore(paths, archive, replace=True)
    assert content(paths) == "archived" and not list(paths.checkout.glob(".var.*"))


def test_what_commands_write_for_themselves_is_replaced(archive: Path, tmp_path: Path) -> None:
    paths = Paths(tmp_path / "copy", tmp_path / "copy")
    paths.mlflow.mkdir(parents=True)
    (paths.mlflow / "location").write_text(str(paths.checkout))
    (paths.var / "services.lock").touch()
    restoration.restore(paths, archive, replace=False)
    assert content(paths) == "archived"
