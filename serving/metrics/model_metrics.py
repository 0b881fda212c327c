"""Metrics of versions: inferences, batches, queueing, champions, and which versions are in memory."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from serving.manifest import Manifest

MODEL = ("model", "version")
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class BatchStats(NamedTuple):
    """A batch that has run: its requests, their rows, and how many of them failed.

    Attributes:
        waited_seconds: that its requests waited in the queue, summed.
        seconds: that the batch took.
    """

    requests: int
    rows: int
    failed: int
    waited_seconds: float
    seconds: float


@dataclass(frozen=True, slots=True)
class _BatchSeries:
    """The series of one version; finding a series takes longer than counting."""

    inferences: Counter
    rows: Counter
    batch_rows: Histogram
    failed: Counter
    queue_seconds: Counter
    compute_seconds: Counter
    last_batch: Gauge


class BatchMetrics:
    """Counters of the batches of each version."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._inferences = Counter("mnistflow_inferences", "Inference requests that ran.", MODEL, registry=registry)
        self._rows = Counter("mnistflow_rows", "Rows inferred, such as images.", MODEL, registry=registry)
        self._batch_rows = Histogram("mnistflow_batch_rows", "Rows per batch.", MODEL, buckets=ROWS, registry=registry)
        self._failed = Counter(
            "mnistflow_failed_inferences", "Inference requests on which the model failed.", MODEL, registry=registry
        )
        self._queue_seconds = Counter(
            "mnistflow_queue_seconds", "Seconds that requests waited in the queue, summed.", MODEL, registry=registry
        )
        self._compute_seconds = Counter(
            "mnistflow_compute_seconds", "Seconds that requests spent in batches, summed.", MODEL, registry=registry
        )
        self._last_batch = Gauge(
            "mnistflow_last_batch_timestamp_seconds",
            "Time of the last batch, in seconds since the epoch.",
            MODEL,
            registry=registry,
            multiprocess_mode="max",
        )
        self._series: dict[tuple[str, int], _BatchSeries] = {}

    def record(self, manifest: Manifest, batch: BatchStats) -> None:
        """Record a batch of a version."""
        key = (manifest.name, manifest.version)
        series = self._series.get(key)
        if series is None:
            series = self._series[key] = self._find_series(manifest)
        series.inferences.inc(batch.requests)
        series.rows.inc(batch.rows)
        series.batch_rows.observe(batch.rows)
        series.queue_seconds.inc(batch.waited_seconds)
        series.compute_seconds.inc(batch.requests * batch.seconds)
        series.last_batch.set_to_current_time()
        if batch.failed:
            series.failed.inc(batch.failed)

    def _find_series(self, manifest: Manifest) -> _BatchSeries:
        labels = (manifest.name, str(manifest.version))
        return _BatchSeries(
            self._inferences.labels(*labels),
            self._rows.labels(*labels),
            self._batch_rows.labels(*labels),
            self._failed.labels(*labels),
            self._queue_seconds.labels(*labels),
            self._compute_seconds.labels(*labels),
            self._last_batch.labels(*labels),
        )


class VersionMetrics:
    """Which version of each model is the champion, and which versions are in memory or were refused.

    Args:
        registry: receives the metrics.
        is_shared: whether several workers share the metrics.
    """

    def __init__(self, registry: CollectorRegistry, *, is_shared: bool) -> None:
        self._is_shared = is_shared
        self._resident: list[tuple[str, str, str, str]] = []
        self._champion = Gauge(
            "mnistflow_champion_version",
            "Number of the version that serves.",
            ("model",),
            registry=registry,
            multiprocess_mode="mostrecent",
        )
        self._info = Gauge(
            "mnistflow_model_info",
            "1 for each version in memory.",
            (*MODEL, "dataset", "sha256"),
            registry=registry,
            multiprocess_mode="livemax",
        )
        self._swaps = Counter("mnistflow_swaps", "Champions replaced while serving.", ("model",), registry=registry)
        self._refused = Counter(
            "mnistflow_refused_candidates",
            "Versions refused because they are not fit to serve.",
            MODEL,
            registry=registry,
        )

    def set_champion(self, manifest: Manifest, *, is_swap: bool) -> None:
        """Expose a champion; `is_swap` if it replaces another one."""
        self._champion.labels(manifest.name).set(manifest.version)
        # Prometheus sees no increase from a series that does not exist yet.
        self._swaps.labels(manifest.name).inc(int(is_swap))

    def set_resident(self, manifests: Sequence[Manifest]) -> None:
        """Expose exactly these versions as being in memory."""
        if self._is_shared:  # series that workers share cannot be removed, only set
            for labels in self._resident:
                self._info.labels(*labels).set(0)
        else:
            self._info.clear()
        self._resident = [
            (manifest.name, str(manifest.version), manifest.dataset, manifest.sha256) for manifest in manifests
        ]
        for labels in self._resident:
            self._info.labels(*labels).set(1)

    def count_refused(self, name: str, version: int) -> None:
        """Count a version that is not fit to serve."""
        self._refused.labels(name, str(version)).inc()
