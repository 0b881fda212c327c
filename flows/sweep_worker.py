"""A member of a sweep: a family with a seed, run in a workspace of its own by a worker that has run others before."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from mnistflow import config, errors, files, logs, splits, tasks
from mnistflow.errors import MnistflowError
from mnistflow.paths import Paths
from mnistflow.pipeline import record, stage_runner
from mnistflow.pipeline import workspace as workspaces
from mnistflow.pipeline.stage_runner import StageJob
from mnistflow.registry import comparison
from mnistflow.runtime import backend
from mnistflow.tracking import runs

logger = logging.getLogger("mnistflow.member")

OUTPUT = (1, 2)  # the file descriptors of what a process prints


@dataclass(frozen=True)
class Member:
    """What a worker needs to run one member.

    Attributes:
        name: such as `mlp seed=0`.
        result: file for what it comes to, a `comparison.Result`.
        parent_run: the sweep's run in MLflow.
    """

    name: str
    workspace: Paths
    result: Path
    parent_run: str

    @property
    def log(self) -> Path:
        """Has all that the member prints."""
        return workspaces.logs(self.workspace) / "member.log"


def run(member: Member) -> str:
    """Run the stages, record them, and write what they came to; return why that failed in short, or nothing."""
    with _output_to(member.log):
        logs.log_to_terminal()
        try:
            with errors.in_one_line():
                _run(member)
        except MnistflowError as error:
            logger.error(str(error))
            return error.problem
        finally:
            backend.clear()
    return ""


def _run(member: Member) -> None:
    workspace = member.workspace
    settings = config.load(workspace.params)
    run = runs.start(workspace, settings.fetch.dataset, member.name, kind="retrain", parent=member.parent_run)
    with runs.finished(run):
        for stage in stage_runner.STAGES:
            done = stage_runner.run_or_restore(StageJob(stage, workspace, settings, run.run_id))
            logger.info("%s: %s (%.1f s)", stage, "done" if done.executed else "unchanged", done.seconds)
        evaluation = record.record(workspace, run, settings)
    headline = tasks.get(splits.load(workspace.prepared).task).headline.name
    result = comparison.Result.of(workspace, evaluation, headline, run.run_id)
    files.write_json(member.result, asdict(result))
    workspaces.tidy(workspace)


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Let all that this process prints in the block go to a file, libraries in C included."""
    path.parent.mkdir(exist_ok=True)
    kept = [os.dup(descriptor) for descriptor in OUTPUT]
    with path.open("wb") as stream:
        for descriptor in OUTPUT:
            os.dup2(stream.fileno(), descriptor)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, former in zip(OUTPUT, kept, strict=True):
            os.dup2(former, descriptor)
            os.close(former)
