"""Process metrics under Prometheus' usual names, `process_*`, over all workers of the server."""

import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from prometheus_client import Metric, ProcessCollector

# The others are summed. The limit on open files is that of each worker.
MERGED_BY_MINIMUM = frozenset({"process_start_time_seconds", "process_max_fds"})


class ProcessMetrics:
    """Processor time, memory and open files; nothing where there is no /proc.

    Args:
        is_shared: whether this process is one of several workers of a supervisor.
    """

    def __init__(self, *, is_shared: bool) -> None:
        self._processes = _workers if is_shared else _this_process

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics, as read now."""
        families: dict[str, Metric] = {}
        values: dict[str, list[float]] = {}
        for process in self._processes():
            for family in ProcessCollector(pid=_constant(process), registry=None).collect():
                families[family.name] = family
                values.setdefault(family.name, []).append(family.samples[0].value)
        for name, family in families.items():
            (sample,) = family.samples
            value = min(values[name]) if name in MERGED_BY_MINIMUM else sum(values[name])
            family.samples = [sample._replace(value=value)]
            yield family


def _constant(process: int) -> Callable[[], int]:
    return lambda: process


def _this_process() -> list[int]:
    return [os.getpid()]


def _workers() -> list[int]:
    """Return the process IDs of all workers: the children of the supervisor."""
    supervisor = os.getppid()
    with suppress(OSError):
        return [int(child) for child in Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()]
    return _this_process()
