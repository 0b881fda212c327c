"""Experiments in MLflow: runs, nested trials, and the end of runs whose process has died.

A stage logs to the run of its pipeline, or to one of its own when it is started by hand. Nothing looks up "the latest
run".
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import TYPE_CHECKING, Any

import psutil

from mnistflow.config import Config
from mnistflow.project import Project

if TYPE_CHECKING:
    from mlflow import MlflowClient

KIND = "mnistflow.kind"  # retrain | sweep | contender | trial | stage
METRIC_POLL_SECONDS = 1.0
LIMIT = 100  # parameters, tags and metrics in one call


def client() -> MlflowClient:
    """Return a client of the store that `MLFLOW_TRACKING_URI` names."""
    from mlflow import MlflowClient

    return MlflowClient()


@dataclass(frozen=True)
class Run:
    """An MLflow run that is open for logging."""

    run_id: str
    experiment_id: str

    def log_params(self, params: Mapping[str, object]) -> None:
        from mlflow.entities import Param

        entries = [Param(name, str(value)) for name, value in params.items()]
        for start in range(0, len(entries), LIMIT):
            client().log_batch(self.run_id, params=entries[start : start + LIMIT])

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        client().log_batch(self.run_id, metrics=[Metric(name, value, now, step) for name, value in metrics.items()])

    def set_tags(self, tags: Mapping[str, object]) -> None:
        from mlflow.entities import RunTag

        client().log_batch(self.run_id, tags=[RunTag(name, str(value)) for name, value in tags.items()])

    def log_folder(self, folder: Path, name: str) -> None:
        client().log_artifacts(self.run_id, str(folder), name)

    def log_file(self, path: Path, folder: str | None = None) -> None:
        client().log_artifact(self.run_id, str(path), folder)

    def finish(self, status: str = "FINISHED") -> None:
        client().set_terminated(self.run_id, status)


@dataclass(frozen=True)
class Record:
    """What a run has logged: parameters, and the last value of each metric."""

    parameters: Mapping[str, str]
    metrics: Mapping[str, float]


def read(run_id: str) -> Record:
    """Return what a run has logged."""
    data = client().get_run(run_id).data
    return Record(data.params, data.metrics)


def experiment_id(project: Project, name: str) -> str:
    """Return the id of the experiment of that name, made when it does not exist."""
    found = client().get_experiment_by_name(name)
    if found:
        return str(found.experiment_id)
    local = os.environ["MLFLOW_TRACKING_URI"].startswith("sqlite:")
    location = (project.mlflow / "artifacts").as_uri() if local else None
    # The kind makes the UI open with training runs instead of traces of language models.
    return str(client().create_experiment(name, location, tags={"mlflow.experimentKind": "custom_model_development"}))


def has_experiment(name: str) -> bool:
    """Return whether anything was ever recorded under that name."""
    return client().get_experiment_by_name(name) is not None


def start(project: Project, experiment: str, name: str, kind: str, parent: str | None = None) -> Run:
    """Start a run; the process that owns it is noted, so that `close_dead_runs` can tell when it has died."""
    tags = {
        KIND: kind,
        "mlflow.user": os.environ.get("USER", "unknown"),
        "mlflow.source.name": "mnistflow",
        "mlflow.source.type": "LOCAL",
        "mnistflow.host": socket.gethostname(),
        "mnistflow.process": str(os.getpid()),
        "mnistflow.process_started": str(psutil.Process().create_time()),
    }
    if parent:
        tags["mlflow.parentRunId"] = parent
    identifier = experiment_id(project, experiment)
    run = client().create_run(identifier, run_name=name, tags=tags)
    return Run(run.info.run_id, identifier)


def resume(run_id: str) -> Run:
    """Return an existing run for logging."""
    return Run(run_id, client().get_run(run_id).info.experiment_id)


def exists(run_id: str) -> bool:
    """Return whether MLflow still has this run."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client().get_run(run_id).info.lifecycle_stage) == "active"
    except MlflowException:
        return False


_run_of_stages: ContextVar[str | None] = ContextVar("run_of_stages", default=None)


@contextmanager
def stages_log_to(run_id: str | None) -> Iterator[None]:
    """Let the stages of the block log to this run; None: each to one of its own."""
    token = _run_of_stages.set(run_id)
    try:
        yield
    finally:
        _run_of_stages.reset(token)


def current_run_id() -> str | None:
    """Return the run that stages log to here."""
    return _run_of_stages.get()


@contextmanager
def stage_run(project: Project, experiment: str, stage: str) -> Iterator[Run]:
    """Yield the run this stage logs to: the one it was given, or one of its own that ends with the block."""
    if run_id := current_run_id():
        yield resume(run_id)
        return
    run = start(project, experiment, stage, kind="stage")
    with finished(run):
        yield run


@contextmanager
def finished(run: Run) -> Iterator[None]:
    """End the run with the block: FINISHED, FAILED after an error, KILLED after an interrupt."""
    try:
        yield
    except BaseException as error:
        run.finish("FAILED" if isinstance(error, Exception) else "KILLED")
        raise
    run.finish()


@contextmanager
def system_metrics(run: Run, after: str) -> Iterator[None]:
    """Log processor, memory, disk and network of this machine to the run while the block runs.

    Args:
        after: a metric of the run to wait for: MLflow's comparison opens with the metric that was logged first.
    """
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run.run_id, sampling_interval=2, samples_before_logging=1, resume_logging=True)
    ended = Event()

    def monitor_in_time() -> None:
        while not ended.wait(METRIC_POLL_SECONDS):
            if after in read(run.run_id).metrics:
                monitor.start()
                ended.wait()
                monitor.finish()

    thread = Thread(target=monitor_in_time, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    # A block shorter than the interval has no other sample.
    monitor.collect_metrics()
    monitor.publish_metrics(monitor.aggregate_metrics())
    monitor.mlflow_logger.flush()


def close_dead_runs(project: Project, experiment: str) -> int:
    """End, as KILLED, the running runs whose process on this machine has died; return how many."""
    dead = [run for run in _running(project, experiment) if _has_died(run.data.tags)]
    for run in dead:
        client().set_terminated(run.info.run_id, "KILLED")
    return len(dead)


def close(run_id: str) -> None:
    """End a run as KILLED if it is running: its process has died, be it on another machine."""
    if exists(run_id) and client().get_run(run_id).info.status == "RUNNING":
        client().set_terminated(run_id, "KILLED")


def _running(project: Project, experiment: str) -> list[Any]:
    return list(client().search_runs([experiment_id(project, experiment)], "attributes.status = 'RUNNING'"))


def _has_died(tags: Mapping[str, str]) -> bool:
    if tags.get("mnistflow.host") != socket.gethostname() or "mnistflow.process" not in tags:
        return False
    try:
        started = psutil.Process(int(tags["mnistflow.process"])).create_time()
    except psutil.NoSuchProcess:
        return True
    return abs(started - float(tags["mnistflow.process_started"])) > 1


def parameters(config: Config) -> dict[str, object]:
    """Flatten what shapes a model, with the same names for every run and family: `model.dropout`, `train.epochs`."""
    return {
        "model.family": config.model.family,
        **{f"model.{name}": value for name, value in config.model.chosen.model_dump(mode="json").items()},
        **{f"train.{name}": value for name, value in config.train.model_dump(mode="json").items()},
        "prepare.validation_fraction": config.prepare.validation_fraction,
        "prepare.train_limit": config.prepare.train_limit,
        "prepare.seed": config.prepare.seed,
        "export.views": config.export.views,
    }
