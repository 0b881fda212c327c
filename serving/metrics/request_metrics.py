"""Metrics of requests, by endpoint and status, and of the inference log."""

from prometheus_client import CollectorRegistry, Counter, Histogram

SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class RequestMetrics:
    """Counters of requests."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._requests = Counter(
            "mnistflow_requests",
            "Requests by endpoint and HTTP or gRPC status.",
            ("endpoint", "status"),
            registry=registry,
        )
        self._seconds = Histogram(
            "mnistflow_request_seconds",
            "Seconds from the start of handling a request to its response.",
            ("endpoint",),
            buckets=SECONDS,
            registry=registry,
        )
        self._log_dropped = Counter(
            "mnistflow_log_dropped",
            "Sampled requests that could not be written to the inference log.",
            registry=registry,
        )
        # Finding the series of a set of labels takes longer than counting.
        self._series: dict[tuple[str, int | str], tuple[Counter, Histogram]] = {}

    def record(self, endpoint: str, status: int | str, seconds: float) -> None:
        """Record one request; `endpoint` must be one of few, `status` is that of HTTP or gRPC."""
        key = (endpoint, status)
        if key not in self._series:
            self._series[key] = (self._requests.labels(endpoint, str(status)), self._seconds.labels(endpoint))
        counter, histogram = self._series[key]
        counter.inc()
        histogram.observe(seconds)

    def count_log_dropped(self) -> None:
        """Count a sampled request that is missing from the inference log."""
        self._log_dropped.inc()
