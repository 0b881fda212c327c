"""A checkout of its own for tests that run the `mnistflow` command, and ways to run, start and kill it there."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import command_server
import psutil
import session_guard
import signing_keys
import stores
from waiting import GENEROUS, WAIT_SECONDS

from mnistflow import config, environment
from mnistflow.checkout import relocation
from mnistflow.paths import Paths

ROOT = Path(__file__).parents[2]
SOURCES = ("params.yaml", "dvc.yaml", "prefect.yaml", ".dvcignore", ".gitignore", ".dvc", "src", "flows", "serving")
TOOLS = ("MLFLOW_", "PREFECT_", "DVC_", "MNISTFLOW_")
COVERAGE = {"COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"}

# A whole pipeline in seconds: the quality of its model is not what these tests ask for.
QUICK = {
    "fetch.dataset": "digits",
    "model.family": "mlp",
    "tune.trials": "2",
    "tune.workers": "1",
    "tune.epochs": "2",
    "tune.train_limit": "500",
    "train.epochs": "8",
    "train.min_steps": "0",
    "train.augment": "{}",
    "evaluate.repeats": "20",
    "evaluate.robustness_images": "100",
    "gate.min_accuracy": "0.5",
    "gate.min_class_recall": "0.2",
}

# Stages alone, called from Python, in a second or two.
TINY: dict[str, object] = {
    "fetch.dataset": "digits",
    "prepare.train_limit": 400,
    "model.family": "mlp",
    "model.mlp.units": [16],
    "train.epochs": 3,
    "train.batch_size": 128,
    "train.min_steps": 0,
    "train.augment": {},
    "tune.epochs": 2,
    "tune.train_limit": 200,
    "evaluate.repeats": 3,
    "gate.min_accuracy": 0.3,
    "gate.min_class_recall": 0.0,
}


@dataclass(frozen=True)
class Checkout:
    """A copy of the project in a folder of its own."""

    folder: Path
    environment: Mapping[str, str] = field(repr=False)
    started: list[subprocess.Popen[str]] = field(default_factory=list, repr=False)

    def command(self, *arguments: str, **settings: str) -> list[str]:
        overrides = [part for key, value in settings.items() for part in ("-S", f"{key}={value}")]
        return [str(Path(sys.executable).with_name("mnistflow")), *arguments, *overrides]

    def start(self, *arguments: str, **settings: str) -> subprocess.Popen[str]:
        """Start a command in a process group of its own. Its workers are programs of the command server."""
        command = self.command(*arguments, **settings)
        if server := running_command_server():
            python = str(server / command_server.PROGRAMS / "python")
            command = [sys.executable, "-P", "-c", command_server.MNISTFLOW, python, *command]
        process = subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.started.append(process)
        return process

    def run(self, *arguments: str, check: object = True, **settings: str) -> subprocess.CompletedProcess[str]:
        """Run a command and return what it prints. The command server runs it, unless its packages may differ."""
        command = self.command(*arguments, **settings)
        done = self._run(command, command_server.ENTRY_POINTS["mnistflow"], command)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    def python(self, code: str, *arguments: str, check: bool = True) -> str:
        """Run code in the folder, and return what it prints."""
        done = self._run([sys.executable, "-c", code, *arguments], f"-c {code}", ["-c", *arguments])
        assert not check or done.returncode == 0, done.stderr
        return done.stdout

    def _run(self, command: list[str], program: str, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        """Run a command, or else the program that it starts, with its arguments, on the command server."""
        same_packages = self.environment.get("PYTHONPATH") == os.environ.get("PYTHONPATH")
        if same_packages and (server := running_command_server()):
            return command_server.run(program, arguments, self.folder, self.environment, server)
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )

    def tool(self, *command: str) -> str:
        """Run another tool of the environment, dvc or git, and return what it prints."""
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def query(self, statement: str, *values: object) -> list[Any]:
        """Ask MLflow's store; nothing is found while it is still being made."""
        path = self.folder / "var/mlflow/mlflow.db"
        if not path.exists():
            return []
        with closing(sqlite3.connect(path, timeout=WAIT_SECONDS)) as store:
            try:
                return store.execute(statement, values).fetchall()
            except sqlite3.OperationalError as error:
                assert "no such" in str(error), error  # table or column: migrations make them one by one
                return []

    def close(self) -> None:
        """End what a failed test has left running."""
        for process in self.started:
            if process.poll() is None:
                kill_all(process)


def running_command_server() -> Path | None:
    """Return the folder of the session's command server; None where programs have to be processes of their own."""
    if not session_guard.is_running() or COVERAGE & os.environ.keys():
        return None
    return session_guard.shared("commands", start_command_server)


def start_command_server(folder: Path) -> None:
    constant = {name: value for name, value in environment.DEFAULTS.items() if "{" not in value}
    command_server.start(folder, {**tools_environment(), **constant})


def clean_environment() -> dict[str, str]:
    """Environment variables of this process without those of the tools."""
    return {name: value for name, value in os.environ.items() if not name.startswith(TOOLS)}


def make_checkout(folder: Path, **variables: str) -> Checkout:
    """Make a checkout as after a clone, but with an empty store of MLflow, whose migrations take seconds."""
    folder.mkdir(parents=True)
    stores.copy_mlflow(folder)
    for name in SOURCES:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__", "tmp", "cache"))
        else:
            shutil.copyfile(source, folder / name)
    checkout = Checkout(folder, checkout_environment(**variables))
    checkout.tool("git", "init", "-q")
    checkout.tool("git", "add", ".")
    checkout.tool("git", "-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "start")
    return checkout


def checkout_environment(**variables: str) -> dict[str, str]:
    own = tools_environment()
    if server := running_command_server():
        own["PATH"] = os.pathsep.join([str(server / command_server.PROGRAMS), own["PATH"]])
    return {**own, **variables}


def tools_environment() -> dict[str, str]:
    clean = clean_environment()
    path = os.pathsep.join([str(Path(sys.executable).parent), clean["PATH"]])
    own = {"PATH": path, "DVC_NO_ANALYTICS": "1"}
    if session_guard.is_running():  # the cache of fonts, which takes seconds
        own["MPLCONFIGDIR"] = str(session_guard.shared("matplotlib", lambda folder: None))
    return {**clean, **GENEROUS, **own}


def copy_checkout(source: Path, folder: Path) -> Checkout:
    """Copy a checkout with all that its commands have made, which leads to the copy then."""
    shutil.copytree(source, folder, symlinks=True)
    relocation.correct(Paths(folder, folder))
    return Checkout(folder, checkout_environment())


def retrain_once(folder: Path) -> None:
    """Make a checkout in a folder, with the quick settings in its params.yaml, and retrain there; sign the version."""
    made = make_checkout(folder / "checkout")
    private, _ = signing_keys.write(made.folder / "var")
    stores.copy_prefect(made.folder)
    write_params(made, **QUICK, **{"gate.significance": "1e-9"})  # none becomes champion by chance
    replace(made, environment={**made.environment, environment.SIGNING_KEY: str(private)}).run("retrain")


def write_params(checkout: Checkout, **values: str) -> None:
    path = checkout.folder / "params.yaml"
    config.write_with_overrides(path, path, config.parse_overrides(f"{key}={value}" for key, value in values.items()))


def workers(process: int) -> list[psutil.Process]:
    """Return the processes that one has started to work for it."""
    found = []
    for child in psutil.Process(process).children():
        with suppress(psutil.NoSuchProcess, psutil.ZombieProcess):
            found += [child] if "worker_process" in " ".join(child.cmdline()) else []
    return found


def still_running(family: Sequence[psutil.Process]) -> list[psutil.Process]:
    """Return those that do not end."""
    _, there = psutil.wait_procs(family, timeout=WAIT_SECONDS)
    return [member for member in there if member.is_running() and member.status() != psutil.STATUS_ZOMBIE]


def kill_all(process: subprocess.Popen[str]) -> None:
    """Kill -9 the process and everything it started."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
