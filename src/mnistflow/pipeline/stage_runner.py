"""Runner of one stage under DVC: takes its outputs from the cache, or runs it and records what it made.

Stages share a process where they can: Keras runs on one library a process, and the export needs TensorFlow.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from mnistflow import logs
from mnistflow.config import Config
from mnistflow.errors import MnistflowError, StageError
from mnistflow.learners.config import TrainConfig
from mnistflow.paths import Paths
from mnistflow.pipeline import dvc_stage, stages
from mnistflow.pipeline import workspace as workspaces
from mnistflow.runtime import backend
from mnistflow.tracking import runs
from mnistflow.workers.base import WorkerDied
from mnistflow.workers.processes import LocalWorkers


@dataclass(frozen=True)
class StageJob:
    """A stage to run.

    Attributes:
        config: the parameters in the workspace's params.yaml.
        run_id: the MLflow run to log to; None: one of the stage's own.
    """

    stage: str
    workspace: Paths
    config: Config
    run_id: str | None = None

    @property
    def log(self) -> Path:
        """File for all log records of the stage."""
        return workspaces.logs(self.workspace) / f"{self.stage}.log"

    @property
    def hint(self) -> str:
        """What to do after the stage has failed."""
        return f"Its log: {self.log}. Then run the same command again: finished stages are not run again."


@dataclass(frozen=True)
class StageOutcome:
    """What a stage has done.

    Attributes:
        executed: whether it ran; otherwise its outputs came from DVC's cache.
    """

    stage: str
    executed: bool
    seconds: float


class StageCrashed(StageError):
    """The process of a stage was killed, or out of memory. A second attempt continues where the first one stopped."""


def run(job: StageJob) -> None:
    """Run a stage, in a process that has imported the sources of the workspace.

    Raises:
        StageError: the stage failed; the message is that of the stage.
        StageCrashed: the process of the stage was killed.
    """
    execute = _run_here if can_share_a_process(job.config.train) else _run_alone
    dvc_stage.run(job.workspace, job.stage, lambda: execute(job))


def run_or_restore(job: StageJob) -> StageOutcome:
    """Run a stage, or take its outputs from the cache. Raises the errors of `dvc_stage.restore` and `run`."""
    started = time.perf_counter()
    is_restored = bool(dvc_stage.restore(job.workspace, [job.stage]))
    if not is_restored:
        run(job)
    return StageOutcome(job.stage, not is_restored, round(time.perf_counter() - started, 2))


def can_share_a_process(config: TrainConfig) -> bool:
    """Return whether all stages can run in one process."""
    return config.backend == backend.DEFAULT


def crashed(job: StageJob) -> StageCrashed:
    """Return the error of a stage whose process was killed."""
    return StageCrashed(f"stage {job.stage} was killed, or out of memory", job.hint, transient=True)


def _run_here(job: StageJob) -> None:
    try:
        with runs.stages_log_to(job.run_id):
            stages.run(job.stage, job.workspace, job.config, job.log)
    except MnistflowError as error:
        raise StageError(f"stage {job.stage} failed: {error.problem}", f"{error.fix} {job.hint}".strip()) from error


def _run_alone(job: StageJob) -> None:
    """Run a stage in a process of its own."""
    with LocalWorkers[StageJob, None]([os.sched_getaffinity(0)]) as workers:
        try:
            workers.result(workers.submit(_run_in_worker, job))
        except WorkerDied as error:
            raise crashed(job) from error


def _run_in_worker(job: StageJob) -> None:
    logs.log_to_terminal()
    _run_here(job)
