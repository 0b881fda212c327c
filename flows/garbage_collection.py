"""Garbage collection of `mnistflow gc` and the flow `upkeep`: the checkout, then Prefect's database.

`mnistflow.upkeep.gc` decides what is garbage in the checkout, `flows.orchestration.flow_run_gc` which flow runs are.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from flows.orchestration import flow_run_gc
from mnistflow.paths import Paths
from mnistflow.retention import RetentionConfig
from mnistflow.upkeep.gc import collection
from mnistflow.upkeep.gc.garbage import Garbage


def collect(paths: Paths, retention: RetentionConfig, log: str, now: datetime, *, delete: bool) -> Iterator[Garbage]:
    """Yield the garbage of the checkout, kind by kind, then that of Prefect's database; removed already if `delete`.

    Args:
        paths: of the checkout.
        retention: section `gc` of params.yaml.
        log: path or URL of the inference log.
        now: time that ages are measured from.
        delete: whether to remove it.

    Raises:
        MnistflowError: a store cannot be read or written.
    """
    yield from collection.collect(paths, retention, log, now, delete=delete)
    yield flow_run_gc.collect(paths, retention, now, delete=delete)
