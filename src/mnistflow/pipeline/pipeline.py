"""Pipeline of one run: its stages, one at a time, in a worker process that imports the sources of the workspace.

A run works with a copy of the sources, so that editing a file does not change a run in progress.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mnistflow import logs
from mnistflow.config import Config
from mnistflow.paths import Paths
from mnistflow.pipeline import dvc_stage, stage_runner
from mnistflow.pipeline.stage_runner import StageJob, StageOutcome
from mnistflow.stage_names import STAGES
from mnistflow.tracking.lazy_run import LazyRun
from mnistflow.workers.base import WorkerDied
from mnistflow.workers.processes import LocalWorkers


class Pipeline:
    """The stages of one workspace. A context manager: the worker process ends with the block.

    A worker that died is replaced for the next call.

    Args:
        config: the parameters in the workspace's params.yaml.
        run: the MLflow run to log to, which starts with the first stage that is executed; None: each stage logs to a
            run of its own.
        stages: names of the stages, in the order in which they will be run.
    """

    def __init__(
        self, workspace: Paths, config: Config, run: LazyRun | None = None, stages: Sequence[str] = STAGES
    ) -> None:
        self._workspace = workspace
        self._config = config
        self._run = run
        self._stages = tuple(stages)
        self._restored: frozenset[str] = frozenset()
        self._workers = LocalWorkers[Any, Any]([os.sched_getaffinity(0)], import_from=import_folders(workspace))

    def run(self, stage: str) -> StageOutcome:
        """Run a stage, or take its outputs from the cache.

        Raises:
            StageError: the stage failed; the message is that of the stage.
            StageCrashed: its process was killed.
        """
        started = time.perf_counter()
        job = StageJob(stage, self._workspace, self._config)
        try:
            is_restored = self._restore(stage)
            if not is_restored:
                self._call(_run_stage, replace(job, run_id=self._run.start().run_id) if self._run else job)
        except WorkerDied as error:
            raise stage_runner.crashed(job) from error
        return StageOutcome(stage, not is_restored, round(time.perf_counter() - started, 2))

    def _restore(self, stage: str) -> bool:
        """Return whether the outputs of a stage came from the cache, and take those of the following stages too."""
        if stage not in self._restored:
            following = self._stages[self._stages.index(stage) :]
            self._restored = frozenset(self._call(partial(dvc_stage.restore, self._workspace), following))
        return stage in self._restored

    def check_remote(self) -> None:
        """Check that DVC's default remote can be written.

        Raises:
            StageError: it cannot; the message says why.
        """
        self._call(dvc_stage.check_remote, self._workspace)

    def push(self) -> int:
        """Copy the outputs of the stages to DVC's default remote; return how many files were new there."""
        return int(self._call(dvc_stage.push, self._workspace))

    def _call(self, function: Callable[[Any], Any], argument: object) -> Any:
        return self._workers.result(self._workers.submit(function, argument))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._workers.__exit__(kind, error, traceback)


def import_folders(workspace: Paths) -> tuple[Path, Path]:
    """Return the folders that a worker imports from to run the sources of a workspace."""
    return workspace.root / "src", workspace.root


def _run_stage(job: StageJob) -> None:
    logs.log_to_terminal()
    stage_runner.run(job)
