"""Runs in MLflow: start, logging, end, and the closing of runs whose process has died.

A stage logs to the run of its pipeline, or to a run of its own when it is started by hand. Every caller passes the id
of its run; no code looks up the latest one.
"""

from __future__ import annotations

import ast
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistflow import environment
from mnistflow.checkout import git
from mnistflow.errors import RegistryError
from mnistflow.paths import Paths
from mnistflow.process_identity import ProcessIdentity, user_name
from mnistflow.tracking.client import mlflow_client
from mnistflow.tracking.records import RunQuery, StoredRun
from mnistflow.tracking.store import open_store

if TYPE_CHECKING:
    from mlflow.entities import Experiment

KIND = "mnistflow.kind"  # a key of COMMANDS, or STAGE
COMMANDS = {
    "retrain": "retrain",
    "sweep": "sweep",
    "family": "sweep",
    "trial": "tune",
    "monitor": "monitor",
    "reproduce": "reproduce",
    "golden": "feedback golden",
}
STAGE = "stage"  # run by hand; its run is named as the stage
DATASET = "mnistflow.dataset"
PRESET = "mnistflow.preset"  # name of the preset that the parameters of a run are closest to
OVERRIDES = "mnistflow.overrides"  # JSON: dotted key -> [value of params.yaml, value of the run], of those that differ
FULL_EPOCHS = "mnistflow.full_epochs"  # number of epochs that the run would have without overrides
COMMAND = "mnistflow.command"  # the one that repeats the run
PARENT_RUN = "mlflow.parentRunId"
COMMIT = "mlflow.source.git.commit"  # as `git.describe_commit` describes it
WEIGHTS = "mnistflow.weights"  # digest of the weights in the ONNX file; see `registry.weights`; also a tag of versions
FLOW_RUN_URL = "prefect.flow_run_url"
VERSION = "mnistflow.version"  # name/number of the version that a run registered, or monitors
REGISTERS = "mnistflow.registers"  # "true" for retrainings that register their model, unless it is known, and judge it
KEEP = "mnistflow.keep"  # set by users, on a run or a version, to whatever: `mnistflow gc` does not remove it
NOTE = "mlflow.note.content"  # the description that MLflow shows
# The process that a run belongs to.
HOST = "mnistflow.host"
_PROCESS = "mnistflow.process"
_PROCESS_STARTED = "mnistflow.process_started"
_PROCESS_NAMESPACE = "mnistflow.process_namespace"
_PROCESS_BOOT_TICKS = "mnistflow.process_boot_ticks"
_DELETED = "deleted"  # stage of runs and experiments in MLflow's trash
_LOCAL = "sqlite:"
MAX_PARAMS = 100  # in one call of MLflow


@dataclass(frozen=True)
class Run:
    """An MLflow run that is open for logging.

    Every method raises `MlflowException` if MLflow cannot be reached or refuses the call.
    """

    run_id: str
    experiment_id: str

    def log_params(self, params: Mapping[str, object]) -> None:
        """Log any number of parameters. MLflow refuses another value of one that is logged already."""
        """Log parameters as texts; `parameter_value` returns their values."""
        from mlflow.entities import Param

        entries = [Param(name, str(value)) for name, value in params.items()]
        for start in range(0, len(entries), MAX_PARAMS):
            mlflow_client().log_batch(self.run_id, params=entries[start : start + MAX_PARAMS])

    def log_metrics(self, metrics: Mapping[str, float], step: int = 0) -> None:
        """Add a value to each metric, up to 1,000 of them. The value of the highest step is the current one."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        mlflow_client().log_batch(
            self.run_id, metrics=[Metric(name, value, now, step) for name, value in metrics.items()]
        )

    def set_tags(self, tags: Mapping[str, object]) -> None:
        """Set up to 100 tags, which overwrites values that they have."""
        from mlflow.entities import RunTag

        mlflow_client().log_batch(self.run_id, tags=[RunTag(name, str(value)) for name, value in tags.items()])

    def log_folder(self, folder: Path, name: str) -> None:
        """Copy the contents of a folder to an artifact folder, over files of the same names."""
        mlflow_client().log_artifacts(self.run_id, str(folder), name)

    def log_file(self, path: Path, folder: str | None = None) -> None:
        """Copy a file to an artifact folder, by default the topmost."""
        mlflow_client().log_artifact(self.run_id, str(path), folder)

    def log_text(self, text: str, name: str) -> None:
        """Write text to the artifact of that path."""
        mlflow_client().log_text(self.run_id, text, name)

    def log_json(self, value: Any, name: str) -> None:
        """Write a value to the artifact of that path: as JSON, or as YAML if the path ends so."""
        mlflow_client().log_dict(self.run_id, value, name)

    def finish(self, status: str = "FINISHED") -> None:
        """End the run, now."""
        mlflow_client().set_terminated(self.run_id, status)


def find(run_id: str) -> StoredRun | None:
    """Return a run with all that it has logged; None if there is no such run, or it was deleted."""
    return open_store().run(run_id)


def read(run_id: str) -> StoredRun:
    """Return a run with all that it has logged.

    Raises:
        RegistryError: there is no such run, or it was deleted.
    """
    found = find(run_id)
    if found is None:
        raise missing(run_id)
    return found


def parameter_value(text: str) -> Any:
    """Return a logged parameter as it was before it became a text. What is no Python literal stays a text."""
    try:
        return ast.literal_eval(text)
    except (SyntaxError, ValueError):
        return text


def missing(run_id: str) -> RegistryError:
    """Return the error of a run that `find` does not find. MLflow's trash still has deleted runs and experiments."""
    from mlflow.exceptions import MlflowException

    try:
        info = mlflow_client().get_run(run_id).info
        experiment = mlflow_client().get_experiment(info.experiment_id)
    except MlflowException:
        return RegistryError(f"MLflow has no run {run_id}", "`mnistflow leaderboard` lists the runs.")
    if experiment.lifecycle_stage == _DELETED:
        return _deleted_experiment(experiment)
    return RegistryError(f"run {run_id} was deleted in MLflow", _restore("runs", f"--run-id {run_id}"))


def _deleted_experiment(experiment: Experiment) -> RegistryError:
    return RegistryError(
        f"experiment {experiment.name} was deleted in MLflow, with its runs",
        _restore("experiments", f"--experiment-id {experiment.experiment_id}"),
    )


def _restore(what: str, which: str) -> str:
    uri = environment.tracking_uri()
    # Outside of mnistflow's commands, MLflow does not know this store; other addresses may contain a password.
    store = f"MLFLOW_TRACKING_URI={uri} " if uri.startswith(_LOCAL) else ""
    return f"`{store}mlflow {what} restore {which}` brings it back."


def experiment_id(paths: Paths, name: str) -> str:
    """Return the id of the experiment of that name; creates the experiment if there is none.

    Raises:
        RegistryError: it was deleted.
    """
    found = mlflow_client().get_experiment_by_name(name)
    if found and found.lifecycle_stage == _DELETED:
        raise _deleted_experiment(found)
    if found:
        return str(found.experiment_id)
    location = (paths.mlflow / "artifacts").as_uri() if environment.tracking_uri().startswith(_LOCAL) else None
    # The kind makes the UI open with training runs instead of traces of language models.
    return str(
        mlflow_client().create_experiment(name, location, tags={"mlflow.experimentKind": "custom_model_development"})
    )


def start(
    paths: Paths,
    experiment: str,
    name: str,
    kind: str,
    parent: str | None = None,
    tags: Mapping[str, str] | None = None,
) -> Run:
    """Start a run. Its tags identify this process, so that `close_dead_runs` can find out whether it has died.

    Args:
        experiment: name of the experiment; a child is in that of its parent, where MLflow shows both.
        parent: id of the run that the new one is a child of.
        tags: besides those that every run has.
    """
    known = {
        KIND: kind,
        "mlflow.user": user_name(),
        "mlflow.source.name": f"mnistflow {name if kind == STAGE else COMMANDS[kind]}",
        "mlflow.source.type": "LOCAL",
        COMMIT: git.describe_commit(paths.checkout),
        **_owner_tags(),
    }
    if parent:
        known[PARENT_RUN] = parent
    identifier = resume(parent).experiment_id if parent else experiment_id(paths, experiment)
    run = mlflow_client().create_run(identifier, run_name=name, tags={**known, **(tags or {})})
    return Run(run.info.run_id, identifier)


def resume(run_id: str) -> Run:
    """Return an existing run for logging."""
    return Run(run_id, mlflow_client().get_run(run_id).info.experiment_id)


def _owner_tags() -> dict[str, str]:
    owner = ProcessIdentity.own()
    return {
        HOST: owner.host,
        _PROCESS: str(owner.pid),
        _PROCESS_STARTED: str(owner.started),
        _PROCESS_NAMESPACE: owner.namespace,
        _PROCESS_BOOT_TICKS: owner.boot_ticks,
    }


def reopen(run_id: str) -> Run:
    """Set a run that has ended to running again, in this process, and return it."""
    run = resume(run_id)
    run.set_tags(_owner_tags())
    mlflow_client().update_run(run_id, status="RUNNING")
    return run


def exists(run_id: str) -> bool:
    """Return whether MLflow still has this run."""
    return open_store().run(run_id) is not None


_run_of_stages: ContextVar[str | None] = ContextVar("run_of_stages", default=None)


@contextmanager
def stages_log_to(run_id: str | None) -> Iterator[None]:
    """Let the stages in the block log to this run; None: each logs to a run of its own."""
    token = _run_of_stages.set(run_id)
    try:
        yield
    finally:
        _run_of_stages.reset(token)


def current_run_id() -> str | None:
    """Return the run that stages log to in this context."""
    return _run_of_stages.get()


@contextmanager
def stage_run(paths: Paths, experiment: str, stage: str) -> Iterator[Run]:
    """Yield the run that this stage logs to: the one of its pipeline, or a run of its own that ends with the block."""
    if run_id := current_run_id():
        yield resume(run_id)
        return
    run = start(paths, experiment, stage, kind=STAGE)
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


def dead_runs(experiment: str) -> list[StoredRun]:
    """Return the running runs whose process on this machine has died."""
    running = open_store().search_runs(RunQuery(experiment, status="RUNNING"))
    return [run for run in running if _has_died(run.tags)]


def runs_elsewhere(experiment: str, before: datetime) -> list[StoredRun]:
    """Return the running runs of other machines that began before a time: their processes may have died."""
    running = open_store().search_runs(RunQuery(experiment, status="RUNNING"))
    old = [run for run in running if run.started_ms < before.timestamp() * 1000]
    return [run for run in old if (owner := _owner(run.tags)) and owner.is_elsewhere]


def close_dead_runs(experiment: str) -> int:
    """End the running runs whose process on this machine has died as KILLED; return how many."""
    dead = dead_runs(experiment)
    for run in dead:
        mlflow_client().set_terminated(run.run_id, "KILLED")
    return len(dead)


def close(run_id: str) -> None:
    """End a run as KILLED if it is still running: its process, on this or another machine, has died."""
    run = open_store().run(run_id)
    if run and run.status == "RUNNING":
        mlflow_client().set_terminated(run_id, "KILLED")


def _has_died(tags: Mapping[str, str]) -> bool:
    owner = _owner(tags)
    return owner is not None and owner.has_died()


def _owner(tags: Mapping[str, str]) -> ProcessIdentity | None:
    if _PROCESS not in tags:
        return None
    return ProcessIdentity(
        tags[HOST],
        int(tags[_PROCESS]),
        float(tags[_PROCESS_STARTED]),
        tags.get(_PROCESS_NAMESPACE, ""),
        tags.get(_PROCESS_BOOT_TICKS, ""),
    )
