"""Lazy run: a run in MLflow that starts when there is something to log."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self

from mnistflow.paths import Paths
from mnistflow.tracking import runs
from mnistflow.tracking.runs import Run
from mnistflow.tracking.system_metrics import log_system_metrics


class LazyRun:
    """A run that a retraining starts when the first stage has to be executed.

    A retraining that finds everything done leaves no run behind, and does not load MLflow. A context manager: its exit
    ends the run, if it was started, as `runs.finished` does, and after an error the runs of worker processes that were
    killed with it.

    Args:
        experiment: name of the experiment.
        metrics_after: metric after whose first value the machine's metrics are logged too.
        tags: of the run, besides those that every run has.
    """

    def __init__(
        self,
        paths: Paths,
        experiment: str,
        name: str,
        kind: str,
        metrics_after: str,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        self._paths = paths
        self._experiment = experiment
        self._name = name
        self._kind = kind
        self._metrics_after = metrics_after
        self._tags = tags or {}
        self._run: Run | None = None
        self._stack = ExitStack()

    @property
    def run_id(self) -> str | None:
        """Id of the run; None before it has started."""
        return self._run.run_id if self._run else None

    def start(self) -> Run:
        """Return the run; the first call starts it."""
        if self._run is None:
            self._run = runs.start(self._paths, self._experiment, self._name, kind=self._kind, tags=self._tags)
            self._stack.enter_context(runs.finished(self._run))
            self._stack.enter_context(log_system_metrics(self._run, after=self._metrics_after))
        return self._run

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._stack.__exit__(kind, error, traceback)
        if self._run and error:
            runs.close_dead_runs(self._experiment)
