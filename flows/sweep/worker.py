"""One run of a sweep: a family with a seed, in a workspace of its own, executed by a worker process."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from mnistflow import config, errors, files, logs, splits, tasks
from mnistflow.analysis import comparison
from mnistflow.errors import MnistflowError
from mnistflow.paths import Paths
from mnistflow.pipeline import record, stage_runner
from mnistflow.pipeline import workspace as workspaces
from mnistflow.pipeline.stage_runner import StageJob
from mnistflow.runtime import backend
from mnistflow.stage_names import STAGES
from mnistflow.tracking import runs

logger = logging.getLogger("mnistflow.sweep")

OUTPUT = (1, 2)  # file descriptors of standard output and standard error


@dataclass(frozen=True)
class SweepRun:
    """What a worker needs to execute one run of a sweep.

    Attributes:
        name: such as `mlp seed=0`.
        title: name of the run in MLflow, with the overrides of the sweep.
        tags: of the run in MLflow.
        result: file for the `comparison.Result` of the run.
        parent_run: id of the sweep's MLflow run.
    """

    name: str
    title: str
    tags: Mapping[str, str]
    workspace: Paths
    result: Path
    parent_run: str

    @property
    def log(self) -> Path:
        """File for all that the run prints."""
        return workspaces.logs(self.workspace) / "run.log"


def run(job: SweepRun) -> str:
    """Run all stages, record them in MLflow, and write the result; return why that failed, or an empty string."""
    with _output_to(job.log):
        logs.log_to_terminal()
        try:
            with errors.in_one_line():
                _run(job)
        except MnistflowError as error:
            logger.error(str(error))
            return error.problem
        finally:
            backend.clear()
    return ""


def _run(job: SweepRun) -> None:
    workspace = job.workspace
    settings = config.load(workspace.params)
    run = runs.start(workspace, settings.fetch.dataset, job.title, kind="retrain", parent=job.parent_run, tags=job.tags)
    with runs.finished(run):
        for stage in STAGES:
            done = stage_runner.run_or_restore(StageJob(stage, workspace, settings, run.run_id))
            logger.info("%s: %s (%.1f s)", stage, "done" if done.executed else "unchanged", done.seconds)
        evaluation = record.record(workspace, run, settings)
    headline = tasks.get(splits.load(workspace.prepared).task).headline.name
    result = comparison.Result.of(workspace, evaluation, headline, run.run_id)
    files.write_json(job.result, asdict(result))
    workspaces.tidy(workspace)


@contextmanager
def _output_to(path: Path) -> Iterator[None]:
    """Redirect what this process prints in the block to a file, the output of C libraries included."""
    path.parent.mkdir(exist_ok=True)
    saved = [os.dup(descriptor) for descriptor in OUTPUT]
    with path.open("wb") as stream:
        for descriptor in OUTPUT:
            os.dup2(stream.fileno(), descriptor)
    try:
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for descriptor, original in zip(OUTPUT, saved, strict=True):
            os.dup2(original, descriptor)
            os.close(original)
