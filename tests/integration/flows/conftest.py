"""A checkout of its own for each test that runs flows, and the command line in it."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
SOURCES = ("params.yaml", "dvc.yaml", "prefect.yaml", ".dvcignore", ".gitignore", ".dvc", "src", "flows")
TOOLS = ("MLFLOW_", "PREFECT_", "DVC_", "MNISTFLOW_")

# A whole pipeline in seconds: the quality of its model is not what these tests ask for.
QUICK = {
    "fetch.dataset": "digits",
    "model.family": "mlp",
    "tune.trials": "2",
    "tune.epochs": "2",
    "tune.train_limit": "500",
    "train.epochs": "8",
    "evaluate.repeats": "20",
    "gate.min_accuracy": "0.5",
    "gate.min_class_recall": "0.2",
}


@dataclass(frozen=True)
class Checkout:
    """A copy of the project in a folder of its own, and a way to run commands there."""

    folder: Path
    environment: Mapping[str, str] = field(repr=False)

    def command(self, *arguments: str, **settings: str) -> list[str]:
        overrides = [part for key, value in settings.items() for part in ("-S", f"{key}={value}")]
        return [str(Path(sys.executable).with_name("mnistflow")), *arguments, *overrides]

    def start(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        """Start a command in a process group of its own."""
        return subprocess.Popen(
            self.command(*arguments, **settings),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str, check: bool = True, **settings: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            self.command(*arguments, **settings),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def tool(self, *command: str) -> str:
        """Run another tool of the environment, dvc or git, and return what it prints."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr


def make_checkout(folder: Path, **environment: str) -> Checkout:
    folder.mkdir(parents=True)
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "tmp", "cache"))
        else:
            shutil.copyfile(source, folder / name)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(TOOLS)}
    path = os.pathsep.join([str(Path(sys.executable).parent), clean["PATH"]])
    checkout = Checkout(folder, {**clean, "PATH": path, "DVC_NO_ANALYTICS": "1", **environment})
    checkout.tool("git", "init", "-q")
    checkout.tool("git", "add", ".")
    checkout.tool("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "start")
    return checkout


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return make_checkout(tmp_path / "checkout")


@pytest.fixture(scope="module")
def retrained(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """A checkout after one whole retraining with the quick settings as its params.yaml."""
    checkout = make_checkout(tmp_path_factory.mktemp("retrained") / "checkout")
    write_params(checkout, **QUICK)
    checkout.run("retrain")
    return checkout


def write_params(checkout: Checkout, **values: str) -> None:
    from mnistflow import config

    path = checkout.folder / "params.yaml"
    config.write_with_overrides(path, path, config.parse_overrides(f"{key}={value}" for key, value in values.items()))
