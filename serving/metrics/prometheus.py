"""What the server counts, in Prometheus' terms. No label takes a value from a client."""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector

from serving.manifest import Manifest
from serving.metrics.triton import triton_metrics, versions

# Set for one of several workers: what all of them count is exposed by whichever is asked.
SHARED_COUNTS = "PROMETHEUS_MULTIPROC_DIR"
SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

# Half of the lines, for a time that restarts show as well.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the package types all but this


@dataclass(frozen=True, slots=True)
class _ModelSeries:
    """What is counted of one version; finding a series takes longer than counting."""

    inferences: Counter
    rows: Counter
    batch_rows: Histogram
    failed: Counter
    queue_seconds: Counter
    compute_seconds: Counter
    last_batch: Gauge


class Metrics:
    """The counters of one server.

    Attributes:
        waiting: returns how many requests wait in this process, by model and version; asked when metrics are.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self.waiting: Callable[[], Mapping[tuple[str, str], int]] = dict
        self._registry = CollectorRegistry()
        self._exposed = self._registry
        if SHARED_COUNTS in os.environ:
            self._exposed = CollectorRegistry()
            MultiProcessCollector(self._exposed)  # type: ignore[no-untyped-call]  # the package types all but this
        self._requests = Counter(
            "mnistflow_requests",
            "Requests by endpoint and HTTP or gRPC status.",
            ("endpoint", "status"),
            registry=self._registry,
        )
        self._resident: list[tuple[str, str, str, str]] = []
        # Finding the series of a set of labels takes longer than counting.
        self._by_request: dict[tuple[str, int | str], tuple[Counter, Histogram]] = {}
        self._seconds = Histogram(
            "mnistflow_request_seconds",
            "From the first byte of the body to the answer.",
            ("endpoint",),
            buckets=SECONDS,
            registry=self._registry,
        )
        model = ("model", "version")
        self._inferences = Counter("mnistflow_inferences", "Inference calls.", model, registry=self._registry)
        self._rows = Counter("mnistflow_rows", "Rows inferred, such as images.", model, registry=self._registry)
        self._batch_rows = Histogram(
            "mnistflow_batch_rows", "Rows run together.", model, buckets=ROWS, registry=self._registry
        )
        self._failed = Counter(
            "mnistflow_failed_inferences", "Inference calls on which the model failed.", model, registry=self._registry
        )
        self._queue_seconds = Counter(
            "mnistflow_queue_seconds", "Waited for their turn, all calls together.", model, registry=self._registry
        )
        self._compute_seconds = Counter(
            "mnistflow_compute_seconds", "Spent in their batches, all calls together.", model, registry=self._registry
        )
        self._last_batch = Gauge(
            "mnistflow_last_batch_timestamp_seconds",
            "When a batch was last run.",
            model,
            registry=self._registry,
            multiprocess_mode="max",
        )
        self._by_model: dict[tuple[str, int], _ModelSeries] = {}
        self._dropped = Counter("mnistflow_log_dropped", "Requests lost to the inference log.", registry=self._registry)
        self._champion = Gauge(
            "mnistflow_champion_version",
            "The version that serves.",
            ("model",),
            registry=self._registry,
            multiprocess_mode="mostrecent",
        )
        self._info = Gauge(
            "mnistflow_model_info",
            "1 for each version in memory.",
            (*model, "dataset", "sha256"),
            registry=self._registry,
            multiprocess_mode="max",
        )
        self._swaps = Counter(
            "mnistflow_swaps", "Champions replaced while serving.", ("model",), registry=self._registry
        )
        self._refused = Counter(
            "mnistflow_refused_candidates", "Versions that were not fit to serve.", model, registry=self._registry
        )
        role = (*model, "role")
        self._rollout_seconds = Histogram(
            "mnistflow_rollout_seconds",
            "How long champion and challenger take while one is compared with the other.",
            role,
            buckets=SECONDS,
            registry=self._registry,
        )
        self._rollout_errors = Counter(
            "mnistflow_rollout_errors", "Their calls that gave no answer.", role, registry=self._registry
        )
        self._rollout_compared = Counter(
            "mnistflow_rollout_compared", "Rows answered by both.", model, registry=self._registry
        )
        self._rollout_agreed = Counter(
            "mnistflow_rollout_agreed", "Rows for which both named the same class.", model, registry=self._registry
        )
        self._rollout_dropped = Counter(
            "mnistflow_rollout_dropped", "Copies of requests dropped under load.", model, registry=self._registry
        )
        self._rollout_withdrawn = Counter(
            "mnistflow_rollout_withdrawn",
            "Challengers withdrawn for errors or slowness.",
            model,
            registry=self._registry,
        )

    def dropped(self) -> None:
        """Count a request that should have been in the inference log."""
        self._dropped.inc()

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format, of type `content_type`."""
        return generate_latest(self)

    def collect(self) -> Iterator[Metric]:
        """Return what all workers have counted, under own names and under Triton's."""
        families = [*self._exposed.collect(), self._waiting_requests()]
        yield from families
        yield from triton_metrics(versions(families))

    def _waiting_requests(self) -> Metric:
        family = GaugeMetricFamily(
            "mnistflow_waiting_requests",
            "Requests that wait for their turn in the process that is asked.",
            labels=("model", "version"),
        )
        for labels, requests in self.waiting().items():
            family.add_metric(labels, requests)
        return family

    def request(self, endpoint: str, status: int | str, seconds: float) -> None:
        """Count one request; `endpoint` must be one of few, `status` one of HTTP or gRPC."""
        key = (endpoint, status)
        if key not in self._by_request:
            self._by_request[key] = (self._requests.labels(endpoint, str(status)), self._seconds.labels(endpoint))
        counter, histogram = self._by_request[key]
        counter.inc()
        histogram.observe(seconds)

    def batch(
        self, manifest: Manifest, requests: int, rows: int, failed: int, queue_seconds: float, compute_seconds: float
    ) -> None:
        """Count requests that were run together: the seconds that they waited in all, and that the batch took."""
        key = (manifest.name, manifest.version)
        series = self._by_model.get(key)
        if series is None:
            series = self._by_model[key] = self._model_series(manifest)
        series.inferences.inc(requests)
        series.rows.inc(rows)
        series.batch_rows.observe(rows)
        series.queue_seconds.inc(queue_seconds)
        series.compute_seconds.inc(requests * compute_seconds)
        series.last_batch.set_to_current_time()
        if failed:
            series.failed.inc(failed)

    def _model_series(self, manifest: Manifest) -> _ModelSeries:
        model = (manifest.name, str(manifest.version))
        return _ModelSeries(
            self._inferences.labels(*model),
            self._rows.labels(*model),
            self._batch_rows.labels(*model),
            self._failed.labels(*model),
            self._queue_seconds.labels(*model),
            self._compute_seconds.labels(*model),
            self._last_batch.labels(*model),
        )

    def champion(self, manifest: Manifest, swapped: bool) -> None:
        self._champion.labels(manifest.name).set(manifest.version)
        if swapped:
            self._swaps.labels(manifest.name).inc()

    def resident(self, manifests: Sequence[Manifest]) -> None:
        """Show exactly these versions as being in memory."""
        if self._exposed is self._registry:
            self._info.clear()
        else:  # what workers share cannot be removed, only set
            for labels in self._resident:
                self._info.labels(*labels).set(0)
        self._resident = [
            (manifest.name, str(manifest.version), manifest.dataset, manifest.sha256) for manifest in manifests
        ]
        for labels in self._resident:
            self._info.labels(*labels).set(1)

    def rollout_series(self, manifest: Manifest, role: str) -> tuple[Histogram, Counter]:
        """Return what counts the seconds, and the errors, of a champion or challenger while the two are compared."""
        labels = (manifest.name, str(manifest.version), role)
        return self._rollout_seconds.labels(*labels), self._rollout_errors.labels(*labels)

    def rollout_compared(self, challenger: Manifest, rows: int, agreed: int) -> None:
        labels = (challenger.name, str(challenger.version))
        self._rollout_compared.labels(*labels).inc(rows)
        self._rollout_agreed.labels(*labels).inc(agreed)

    def rollout_dropped(self, challenger: Manifest) -> None:
        self._rollout_dropped.labels(challenger.name, str(challenger.version)).inc()

    def rollout_withdrawn(self, challenger: Manifest) -> None:
        self._rollout_withdrawn.labels(challenger.name, str(challenger.version)).inc()

    def values(self, *names: str) -> Mapping[tuple[str, ...], float]:
        """Return what all workers have counted, by name, model, version and, where there is one, role."""
        return {
            (
                sample.name,
                *(sample.labels[label] for label in ("model", "version", "role") if label in sample.labels),
            ): (sample.value)
            for family in self.collect()
            for sample in family.samples
            if sample.name in names
        }

    def refused(self, name: str, version: int) -> None:
        self._refused.labels(name, str(version)).inc()
