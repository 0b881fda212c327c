"""Collection of all garbage in a checkout: `mnistflow gc`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from mnistflow.paths import Paths
from mnistflow.retention import RetentionConfig
from mnistflow.upkeep import dvc_cache, folders, inferences, records
from mnistflow.upkeep.garbage import Garbage


def collect(paths: Paths, retention: RetentionConfig, log: str, now: datetime, *, delete: bool) -> Iterator[Garbage]:
    """Yield the garbage of each kind, removed already if asked to.

    What an earlier kind no longer holds, such as files that the dvc.lock of an old run names, is garbage of a later
    one.

    Args:
        paths: of the checkout.
        retention: section `gc` of params.yaml.
        log: path or URL of the inference log.
        now: time that ages are measured at.
        delete: whether to remove it.

    Raises:
        MnistflowError: a store cannot be read or written; what was yielded before is done.
    """
    known = records.collect(paths, retention, now, delete=delete)
    yield known.runs
    yield known.versions
    workspaces = folders.collect_workspaces(paths, retention, now, delete=delete)
    yield workspaces
    yield folders.collect_checkpoints(paths, retention, now, delete=delete)
    yield dvc_cache.collect(paths, retention, now, known.locks, workspaces.names, delete=delete)
    yield inferences.collect(log, retention, now, delete=delete)
