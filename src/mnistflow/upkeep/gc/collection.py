"""Collection: calls the modules of `mnistflow gc` in their order, as later kinds depend on what earlier ones keep."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from mnistflow.paths import Paths
from mnistflow.retention import RetentionConfig
from mnistflow.upkeep.gc import dvc_cache, logged_inferences, mlflow_runs, workspaces
from mnistflow.upkeep.gc.garbage import Garbage


def collect(paths: Paths, retention: RetentionConfig, log: str, now: datetime, *, delete: bool) -> Iterator[Garbage]:
    """Yield the garbage of each kind, removed already if asked to.

    What only garbage of an earlier kind references, such as files that the dvc.lock of an old run names, is garbage of
    a later one.

    Args:
        paths: of the checkout.
        retention: section `gc` of params.yaml.
        log: path or URL of the inference log.
        now: time that ages are measured at.
        delete: whether to remove it.

    Raises:
        MnistflowError: a store cannot be read or written; what was yielded before is done.
    """
    known = mlflow_runs.collect(paths, retention, now, delete=delete)
    yield known.runs
    yield known.versions
    run_workspaces = workspaces.collect_workspaces(paths, retention, now, delete=delete)
    yield run_workspaces
    yield workspaces.collect_checkpoints(paths, retention, now, delete=delete)
    yield dvc_cache.collect(paths, retention, now, known.locks, run_workspaces.names, delete=delete)
    yield logged_inferences.collect(log, retention, now, delete=delete)
