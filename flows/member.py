"""A member of a sweep: a family with a seed, run in a workspace of its own by a worker that has run others before."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from mnistflow import (
    backend,
    cli,
    comparison,
    config,
    errors,
    files,
    pipeline,
    recording,
    stage_runner,
    tasks,
    tracking,
)
from mnistflow.data import splits
from mnistflow.errors import MnistflowError
from mnistflow.pipeline import Pipeline
from mnistflow.project import Project

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
    workspace: Project
    result: Path
    parent_run: str

    @property
    def log(self) -> Path:
        """Has all that the member prints."""
        return pipeline.logs(self.workspace) / "member.log"


def run(member: Member) -> str:
    """Run the stages, record them, and write what they came to; return why that failed in short, or nothing."""
    with _output_to(member.log):
        cli.log_to_terminal()
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
    run = tracking.start(workspace, settings.fetch.dataset, member.name, kind="retrain", parent=member.parent_run)
    with tracking.finished(run):
        steps = Pipeline(workspace, stage_runner.inside(settings.train), run.run_id)
        for stage in pipeline.STAGES:
            done = steps.run(stage)
            logger.info("%s: %s (%.1f s)", stage, "done" if done.executed else "unchanged", done.seconds)
        evaluation = recording.record(workspace, run)
    headline = tasks.get(splits.load(workspace.prepared).task).headline.name
    result = comparison.Result.of(workspace, evaluation, headline, run.run_id)
    files.write_json(member.result, asdict(result))
    pipeline.tidy(workspace)


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
