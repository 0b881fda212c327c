"""System metrics of a run: processor, memory, disk and network of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Event, Thread

from mnistflow.errors import RegistryError
from mnistflow.tracking.runs import Run, read

METRIC_POLL_SECONDS = 1.0


@contextmanager
def log_system_metrics(run: Run, after: str) -> Iterator[None]:
    """Log processor, memory, disk and network of this machine to the run while the block runs.

    Args:
        after: metric of the run to wait for. MLflow's comparison page opens with the metric that was logged first,
            which should not be one of the machine.
    """
    from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

    monitor = SystemMetricsMonitor(run.run_id, sampling_interval=2, samples_before_logging=1, resume_logging=True)
    ended = Event()

    def monitor_after_first_value() -> None:
        while not ended.wait(METRIC_POLL_SECONDS):
            if _has_metric(run.run_id, after):
                monitor.start()
                ended.wait()
                monitor.finish()

    thread = Thread(target=monitor_after_first_value, daemon=True)
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


def _has_metric(run_id: str, name: str) -> bool:
    with suppress(RegistryError):  # the server is away for a while
        return name in read(run_id).metrics
    return False
