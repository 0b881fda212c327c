"""One run of the pipeline: a workspace of its own, and its stages under DVC's books.

A workspace is a folder with a copy of the sources, its own params.yaml and its own dvc.lock, so that runs with
different parameters do not disturb each other. All share DVC's cache: a stage that ever ran with the same inputs,
sources and parameters is not run again, its outputs come from the cache.
"""

from __future__ import annotations

import logging
import os
import shutil
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
from mnistflow import files
from mnistflow.errors import ConfigError, MnistflowError, StageError
from mnistflow.project import Project
from mnistflow.stage_runner import Runner, StageJob
from mnistflow.workers import WorkerDied

if TYPE_CHECKING:
    from dvc.repo import Repo

STAGES = ("fetch", "prepare", "tune", "train", "export", "evaluate")
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


class Pipeline:
    """The stages of one workspace, run one at a time."""

    def __init__(self, workspace: Project, runner: Runner, run_id: str | None = None) -> None:
        """Run stages in `workspace`.

        Args:
            runner: runs those that DVC does not know.
            run_id: the MLflow run for what they log.
        """
        self._workspace = workspace
        self._runner = runner
        self._run_id = run_id

    def run(self, stage: str) -> StageOutcome:
        """Run a stage, or take its outputs from the cache.

        Raises:
            StageError: the stage failed; says what the stage said.
            StageCrashed: the stage ended without a word.
        """
        from dvc.exceptions import DvcException

        started = time.perf_counter()
        with self._repository() as repository:
            try:
                executed = self._reproduce(repository, stage)
            except DvcException as error:
                raise StageError(f"DVC refuses stage {stage}: {error}", "Mend dvc.yaml or .dvc/config.") from error
        return StageOutcome(stage, executed, round(time.perf_counter() - started, 2))

    def _reproduce(self, repository: Repo, name: str) -> bool:
        """Do what DVC's `reproduce` does, with the runner in the place of the stage's command."""
        from dvc.repo import lock_repo
        from dvc.stage.cache import RunCacheNotFoundError

        with lock_repo(repository):
            (stage,) = repository.stage.collect(name)
            if stage.cmd != f"mnistflow {name}":
                raise StageError(f"dvc.yaml: stage {name} runs {stage.cmd!r}", f"It has to be `mnistflow {name}`.")
            if not stage.changed():
                return False
            stage.remove_outs()
            try:
                repository.stage_cache.restore(stage)
                executed = False
            except RunCacheNotFoundError:
                self._execute(name)
                executed = True
            repository.commit(name, force=True)
            return executed

    def _execute(self, stage: str) -> None:
        log = logs(self._workspace) / f"{stage}.log"
        mend = f"Its log: {log}. Then go on with `mnistflow retrain`: finished stages are not run again."
        try:
            self._runner(StageJob(stage, self._workspace, self._run_id, log))
        except WorkerDied as error:
            raise StageCrashed(f"stage {stage} was ended from outside, killed or out of memory", mend) from error
        except MnistflowError as error:
            raise StageError(f"stage {stage} failed: {error.problem}", f"{error.mend} {mend}".strip()) from error

    def push(self) -> int:
        """Copy what the stages made to DVC's default remote; return how many files were new there."""
        with self._repository() as repository:
            return int(repository.push())

    @contextmanager
    def _repository(self) -> Iterator[Repo]:
        from dvc.repo import Repo

        logging.getLogger("dvc").setLevel(logging.WARNING)
        before = Path.cwd()
        os.chdir(self._workspace.workspace)
        try:
            with Repo(str(self._workspace.workspace)) as repository:
                yield repository
        finally:
            os.chdir(before)


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


@contextmanager
def tidied(workspace: Project) -> Iterator[None]:
    """Tidy a workspace when the block ends, however it does."""
    try:
        yield
    finally:
        tidy(workspace)


def lock(workspace: Project) -> Mapping[str, Any]:
    """Return the stages of a workspace's dvc.lock."""
    stages: Mapping[str, Any] = yaml.safe_load((workspace.workspace / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    return stages
