"""What the server counts, in Prometheus' terms. No label takes a value from a client."""

from collections.abc import Sequence

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)

from serving.repository import Manifest

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)

# Half of the lines, for a time that restarts show as well.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the package types all but this


class Metrics:
    """The counters of one server."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "mnistflow_requests", "Requests by door and HTTP status.", ("door", "status"), registry=self._registry
        )
        self._seconds = Histogram(
            "mnistflow_request_seconds",
            "From the first byte of the body to the answer.",
            ("door",),
            buckets=SECONDS,
            registry=self._registry,
        )
        model = ("model", "version")
        self._inferences = Counter("mnistflow_inferences", "Inference calls.", model, registry=self._registry)
        self._rows = Counter("mnistflow_rows", "Rows inferred, such as images.", model, registry=self._registry)
        self._batch_rows = Histogram(
            "mnistflow_batch_rows", "Rows run together.", model, buckets=ROWS, registry=self._registry
        )
        self._champion = Gauge(
            "mnistflow_champion_version", "The version that serves.", ("model",), registry=self._registry
        )
        self._info = Gauge(
            "mnistflow_model_info",
            "1 for each version in memory.",
            (*model, "dataset", "sha256"),
            registry=self._registry,
        )
        self._swaps = Counter(
            "mnistflow_swaps", "Champions replaced while serving.", ("model",), registry=self._registry
        )
        self._refused = Counter(
            "mnistflow_refused_candidates", "Versions that were not fit to serve.", model, registry=self._registry
        )

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format, of type `content_type`."""
        return generate_latest(self._registry)

    def request(self, door: str, status: int, seconds: float) -> None:
        self._requests.labels(door, str(status)).inc()
        self._seconds.labels(door).observe(seconds)

    def inference(self, manifest: Manifest, rows: int) -> None:
        self._inferences.labels(manifest.name, str(manifest.version)).inc()
        self._rows.labels(manifest.name, str(manifest.version)).inc(rows)

    def batch(self, manifest: Manifest, rows: int) -> None:
        self._batch_rows.labels(manifest.name, str(manifest.version)).observe(rows)

    def champion(self, manifest: Manifest, swapped: bool) -> None:
        self._champion.labels(manifest.name).set(manifest.version)
        if swapped:
            self._swaps.labels(manifest.name).inc()

    def resident(self, manifests: Sequence[Manifest]) -> None:
        """Show exactly these versions as being in memory."""
        self._info.clear()
        for manifest in manifests:
            self._info.labels(manifest.name, str(manifest.version), manifest.dataset, manifest.sha256).set(1)

    def refused(self, name: str, version: int) -> None:
        self._refused.labels(name, str(version)).inc()
