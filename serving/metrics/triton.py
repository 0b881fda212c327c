"""Triton's metrics and statistics of each version, from the counters of Prometheus.

https://github.com/triton-inference-server/server/blob/main/docs/user_guide/metrics.md
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_statistics.md
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from prometheus_client import Metric

# The field of `Counts` that each sample belongs to.
SAMPLES = {
    "mnistflow_inferences_total": "calls",
    "mnistflow_rows_total": "rows",
    "mnistflow_batch_rows_count": "batches",
    "mnistflow_failed_inferences_total": "failed",
    "mnistflow_queue_seconds_total": "queue_seconds",
    "mnistflow_compute_seconds_total": "compute_seconds",
    "mnistflow_last_batch_timestamp_seconds": "last_batch",
    "mnistflow_waiting_requests": "waiting",
}


@dataclass(slots=True)
class Counts:
    """Counts of a version since the server started.

    Attributes:
        calls, failed: requests that ran, and those of them on which the model failed.
        rows, batches: that ran for these requests.
        queue_seconds, compute_seconds: that requests spent in the queue and in batches, summed over requests.
        last_batch: time of the last batch, in seconds since the epoch; 0 before the first.
        waiting: requests that wait now.
    """

    calls: float = 0
    rows: float = 0
    batches: float = 0
    failed: float = 0
    queue_seconds: float = 0
    compute_seconds: float = 0
    last_batch: float = 0
    waiting: float = 0


Versions = Mapping[tuple[str, str], Counts]

TRITON_METRICS: Mapping[str, tuple[str, Callable[[Counts], float]]] = {
    "nv_inference_request_success": ("Requests that succeeded.", lambda counts: counts.calls - counts.failed),
    "nv_inference_request_failure": ("Requests on which the model failed.", lambda counts: counts.failed),
    "nv_inference_count": ("Rows inferred.", lambda counts: counts.rows),
    "nv_inference_exec_count": ("Batches run.", lambda counts: counts.batches),
    "nv_inference_request_duration_us": (
        "Microseconds in the queue and in batches, summed over requests.",
        lambda counts: (counts.queue_seconds + counts.compute_seconds) * 1e6,
    ),
    "nv_inference_queue_duration_us": (
        "Microseconds in the queue, summed over requests.",
        lambda counts: counts.queue_seconds * 1e6,
    ),
    "nv_inference_compute_infer_duration_us": (
        "Microseconds in batches, summed over requests.",
        lambda counts: counts.compute_seconds * 1e6,
    ),
    "nv_inference_compute_input_duration_us": ("0: copying inputs counts as inference.", lambda _: 0),
    "nv_inference_compute_output_duration_us": ("0: copying outputs counts as inference.", lambda _: 0),
    "nv_inference_pending_request_count": ("Requests in the queue.", lambda counts: counts.waiting),
}


def versions(families: Iterable[Metric]) -> Versions:
    """Return the counts by model and version."""
    found: dict[tuple[str, str], Counts] = {}
    for family in families:
        for sample in family.samples:
            field = SAMPLES.get(sample.name)
            if field is not None:
                key = (sample.labels["model"], sample.labels["version"])
                setattr(found.setdefault(key, Counts()), field, sample.value)
    return found


def triton_metrics(counted: Versions) -> Iterator[Metric]:
    """Yield `nv_inference_*`. Counters of Prometheus need the suffix `_total`, so these metrics have no type."""
    for metric_name, (meaning, value) in TRITON_METRICS.items():
        family = Metric(metric_name, meaning, "unknown")
        for (model, version), counts in counted.items():
            family.add_sample(metric_name, {"model": model, "version": version}, value(counts))
        yield family


def describe(model: str, version: str, counts: Counts) -> dict[str, Any]:
    """Return the statistics of a version in Triton's format; copying in and out of batches counts as inference."""
    return {
        "name": model,
        "version": version,
        "last_inference": int(counts.last_batch * 1e3),
        "inference_count": int(counts.rows),
        "execution_count": int(counts.batches),
        "inference_stats": {
            "success": _duration(counts.calls - counts.failed, counts.queue_seconds + counts.compute_seconds),
            "fail": _duration(counts.failed, 0),
            "queue": _duration(counts.calls, counts.queue_seconds),
            "compute_input": _duration(counts.calls, 0),
            "compute_infer": _duration(counts.calls, counts.compute_seconds),
            "compute_output": _duration(counts.calls, 0),
        },
    }


def _duration(count: float, seconds: float) -> dict[str, int]:
    return {"count": int(count), "ns": int(seconds * 1e9)}
