"""One run of the pipeline: a workspace of its own, and its stages under DVC's books.

A workspace is a folder with a copy of the sources, its own params.yaml and its own dvc.lock, so that runs with
different parameters do not disturb each other. All share DVC's cache: a stage that ever ran with the same inputs,
sources and parameters is not run again, its outputs come from the cache.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mnistflow import config as configuration
from mnistflow import files, stages
from mnistflow.errors import ConfigError, MnistflowError, StageError
from mnistflow.project import HOME_VARIABLE, Project

if TYPE_CHECKING:
    from dvc.repo import Repo

STAGES = ("fetch", "prepare", "tune", "train", "export", "evaluate")
LOGS_VARIABLE = "MNISTFLOW_LOGS"
OWNER_VARIABLE = "MNISTFLOW_OWNER"
SOURCES = ("dvc.yaml", ".dvcignore", "src", "flows")


@dataclass(frozen=True)
class StageOutcome:
    """What became of a stage.

    Attributes:
        executed: whether it ran; otherwise its outputs came from DVC's cache.
    """

    stage: str
    executed: bool
    seconds: float


class StageCrashed(StageError):
    """A stage's process ended without saying why: killed, or out of memory. A second try goes on where it stopped."""


def create_workspace(home: Project, overrides: Mapping[str, Any]) -> Project:
    """Make a workspace under the home's `var/runs` with `overrides` in its params.yaml.

    Raises:
        ConfigError: params.yaml or an override is not valid; no workspace is made then.
    """
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"
    with files.atomic_write(home.runs / name) as folder:
        folder.mkdir()
        configuration.write_with_overrides(home.params, folder / "params.yaml", overrides)
        for source in SOURCES:
            _copy(home.home / source, folder / source)
        _write_dvc_config(home, folder / ".dvc")
    return Project(home.runs / name, home.home)


def _copy(source: Path, target: Path) -> None:
    if not source.exists():
        raise ConfigError(f"{source} is missing", "Restore it with git.")
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    else:
        shutil.copyfile(source, target)


def _write_dvc_config(home: Project, folder: Path) -> None:
    """Take over the checkout's remotes and their credentials, with the folders where the checkout has them."""
    config = ConfigParser(interpolation=None)
    config.read([home.home / ".dvc/config", home.home / ".dvc/config.local"], encoding="utf-8")
    for section in config.values():
        for key, value in section.items():
            if value.startswith("../"):
                section[key] = str((home.home / ".dvc" / value).resolve())
    config["core"]["no_scm"] = "true"
    folder.mkdir()
    with (folder / "config").open("w", encoding="utf-8") as stream:
        config.write(stream)


def logs(workspace: Project) -> Path:
    """Return the folder of a workspace's stage logs."""
    return workspace.workspace / "logs"


def import_paths(workspace: Project) -> list[str]:
    """Return where Python finds the sources of a workspace."""
    return [str(workspace.workspace / "src"), str(workspace.workspace)]


class Pipeline:
    """The stages of one workspace, run one at a time."""

    def __init__(self, workspace: Project, run_id: str | None = None, *, in_process: bool = False) -> None:
        """Run stages in `workspace`.

        Args:
            run_id: the MLflow run for what they log.
            in_process: run each in this process, which must have imported the workspace's sources, instead of one of
                its own.
        """
        self._workspace = workspace
        self._in_process = in_process
        self._environment = {
            HOME_VARIABLE: str(workspace.home),
            LOGS_VARIABLE: str(logs(workspace)),
            OWNER_VARIABLE: str(os.getpid()),
            "PYTHONPATH": os.pathsep.join(import_paths(workspace)),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            **({"MNISTFLOW_RUN_ID": run_id} if run_id else {}),
        }

    def run(self, stage: str) -> StageOutcome:
        """Run a stage, or take its outputs from the cache.

        Raises:
            StageError: the stage failed; says what the stage said.
            StageCrashed: the stage ended without a word.
        """
        from dvc.exceptions import DvcException, ReproductionError

        started = time.perf_counter()
        problem = logs(self._workspace) / f"{stage}.error"
        problem.unlink(missing_ok=True)
        with self._repository() as repository:
            try:
                if self._in_process:
                    self._reproduce_here(repository, stage)
                else:
                    repository.reproduce(stage, single_item=True)
            except ReproductionError as error:
                if _was_interrupted(error):
                    raise KeyboardInterrupt from error
                raise self._failure(stage, problem) from error
            except DvcException as error:
                raise StageError(f"stage {stage} cannot start: {error}", "Mend dvc.yaml or .dvc/config.") from error
        executed = self._log(stage).is_file()
        return StageOutcome(stage, executed, round(time.perf_counter() - started, 2))

    def _reproduce_here(self, repository: Repo, name: str) -> None:
        """Do what DVC's `reproduce` does, with the stage itself in the place of its command."""
        from dvc.repo import lock_repo
        from dvc.stage.cache import RunCacheNotFoundError

        with lock_repo(repository):
            (stage,) = repository.stage.collect(name)
            if not stage.changed():
                return
            stage.remove_outs()
            try:
                repository.stage_cache.restore(stage)
            except RunCacheNotFoundError:
                self._run_here(name)
            repository.commit(name, force=True)

    def _run_here(self, stage: str) -> None:
        from mnistflow import learners

        settings = configuration.load(self._workspace.params)
        # TensorFlow takes its number of threads before its first use: the export, when DVC knows the training.
        learners.of(settings.model.chosen).prepare(settings.train)
        try:
            stages.run(stage, self._workspace, settings, self._log(stage))
        except MnistflowError as error:
            raise self._failed(stage, str(error)) from error

    def push(self) -> int:
        """Copy what the stages made to DVC's default remote; return how many files were new there."""
        with self._repository() as repository:
            return int(repository.push())

    @contextmanager
    def _repository(self) -> Iterator[Repo]:
        from dvc.repo import Repo

        logging.getLogger("dvc").setLevel(logging.WARNING)
        before = Path.cwd(), dict(os.environ)
        os.chdir(self._workspace.workspace)
        os.environ.update(self._environment)
        try:
            with Repo(str(self._workspace.workspace)) as repository:
                yield repository
        finally:
            os.chdir(before[0])
            os.environ.clear()
            os.environ.update(before[1])

    def _failure(self, stage: str, problem: Path) -> StageError:
        if problem.is_file():
            return self._failed(stage, problem.read_text(encoding="utf-8").strip())
        return StageCrashed(f"stage {stage} was ended from outside, killed or out of memory", self._mend(stage))

    def _failed(self, stage: str, reason: str) -> StageError:
        return StageError(f"stage {stage} failed: {reason}", self._mend(stage))

    def _mend(self, stage: str) -> str:
        return f"Its log: {self._log(stage)}. Then go on with `mnistflow retrain`: finished stages are not run again."

    def _log(self, stage: str) -> Path:
        return logs(self._workspace) / f"{stage}.log"


def _was_interrupted(error: Exception) -> bool:
    """DVC is deaf to Ctrl-C while a stage runs, which hears it: the stage's exit code tells."""
    return str(error.__cause__).endswith(("exited with 130", f"exited with -{signal.SIGINT.value}"))


def bring_home(workspace: Project) -> None:
    """Show the outputs of a finished run in the checkout, where `dvc metrics show` and `dvc plots show` find them."""
    checkout = Project(workspace.home, workspace.home)
    for source, target in (
        (workspace.raw, checkout.raw),
        (workspace.prepared, checkout.prepared),
        (workspace.reports, checkout.reports),
        (workspace.tuned, checkout.tuned),
        (workspace.trained, checkout.trained),
        (workspace.exported, checkout.exported),
        (workspace.evaluated, checkout.evaluated),
    ):
        if source.is_dir():
            with files.atomic_write(target) as temporary:
                source.rename(temporary)


def tidy(workspace: Project) -> None:
    """Leave of a finished workspace its parameters, its dvc.lock and its logs; the rest is in the cache."""
    for name in ("var", "src", "flows", ".dvc"):
        files.remove(workspace.workspace / name)


def lock(workspace: Project) -> Mapping[str, Any]:
    """Return the stages of a workspace's dvc.lock."""
    stages: Mapping[str, Any] = yaml.safe_load((workspace.workspace / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    return stages
