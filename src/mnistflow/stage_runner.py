"""Who runs a pipeline's stages: this process, or others that import the sources of the workspace.

A run works with a copy of the sources, so that editing a file does not change what is under way.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mnistflow import backend, cli, config, stages, tracking
from mnistflow.config import TrainConfig
from mnistflow.project import Project
from mnistflow.workers import LocalWorkers, Workers


@dataclass(frozen=True)
class StageJob:
    """A stage to run.

    Attributes:
        run_id: the MLflow run for what it logs; None: one of its own.
        log: file for all that it logs.
    """

    stage: str
    workspace: Project
    run_id: str | None
    log: Path


Runner = Callable[[StageJob], None]


def run_here(job: StageJob) -> None:
    """Run a stage in this process, which must have imported the sources of a workspace.

    Raises:
        MnistflowError: the stage failed.
    """
    with tracking.stages_log_to(job.run_id):
        stages.run(job.stage, job.workspace, config.load(job.workspace.params), job.log)


def run_alone(job: StageJob) -> None:
    """Run a stage in a process that runs nothing else.

    Raises:
        MnistflowError: the stage failed.
        WorkerDied: the process was ended from outside, or crashed.
    """
    with _process() as run:
        run(job)


def can_share_a_process(settings: TrainConfig) -> bool:
    """Return whether stages can: Keras runs on one library a process, and the export needs TensorFlow."""
    return settings.backend == backend.DEFAULT


def inside(settings: TrainConfig) -> Runner:
    """Return what runs stages in this process as far as they can share one."""
    return run_here if can_share_a_process(settings) else run_alone


@contextmanager
def beside(settings: TrainConfig) -> Iterator[Runner]:
    """Yield what runs stages in another process, one as far as they can share it, which ends with the block.

    One that died is replaced for the next stage. Raises what `run_alone` raises.
    """
    if not can_share_a_process(settings):
        yield run_alone
        return
    with _process() as run:
        yield run


@contextmanager
def _process() -> Iterator[Runner]:
    workers: Workers[StageJob, None] = LocalWorkers([os.sched_getaffinity(0)])

    def run(job: StageJob) -> None:
        with importable(job.workspace):
            future = workers.submit(_run_in_worker, job)
        workers.result(future)

    with workers:
        yield run


def _run_in_worker(job: StageJob) -> None:
    cli.log_to_terminal()
    run_here(job)


@contextmanager
def importable(workspace: Project) -> Iterator[None]:
    """Let processes that start in the block import the sources of a workspace."""
    paths = list(sys.path)
    sys.path[:0] = [str(workspace.workspace / "src"), str(workspace.workspace)]
    try:
        yield
    finally:
        sys.path[:] = paths
