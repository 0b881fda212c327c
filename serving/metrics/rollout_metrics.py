"""Metrics of rollouts: durations and errors of champion and challenger, their agreement, and withdrawals."""

from prometheus_client import CollectorRegistry, Counter, Histogram

from serving.manifest import Manifest
from serving.metrics.model_metrics import MODEL
from serving.metrics.request_metrics import SECONDS

ROLE = (*MODEL, "role")


class RolloutMetrics:
    """Counters of the versions that take part in rollouts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._seconds = Histogram(
            "mnistflow_rollout_seconds",
            "Seconds of inference calls during a rollout, by role: champion or challenger.",
            ROLE,
            buckets=SECONDS,
            registry=registry,
        )
        self._errors = Counter(
            "mnistflow_rollout_errors",
            "Inference calls that failed during a rollout, by role.",
            ROLE,
            registry=registry,
        )
        self._compared = Counter(
            "mnistflow_rollout_compared", "Rows computed by champion and challenger.", MODEL, registry=registry
        )
        self._agreed = Counter(
            "mnistflow_rollout_agreed",
            "Rows for which champion and challenger predicted the same class.",
            MODEL,
            registry=registry,
        )
        self._dropped = Counter(
            "mnistflow_rollout_dropped", "Shadow requests dropped under load.", MODEL, registry=registry
        )
        self._withdrawn = Counter(
            "mnistflow_rollout_withdrawn", "Challengers withdrawn for errors or slowness.", MODEL, registry=registry
        )

    def series(self, manifest: Manifest, role: str) -> tuple[Histogram, Counter]:
        """Return the seconds and the errors of a version; `role` is `champion` or `challenger`."""
        labels = (manifest.name, str(manifest.version), role)
        return self._seconds.labels(*labels), self._errors.labels(*labels)

    def record_agreement(self, challenger: Manifest, rows: int, agreed: int) -> None:
        """Record the rows that both versions computed, and for how many they predicted the same class."""
        labels = (challenger.name, str(challenger.version))
        self._compared.labels(*labels).inc(rows)
        self._agreed.labels(*labels).inc(agreed)

    def count_dropped(self, challenger: Manifest) -> None:
        """Count a shadow request that was dropped."""
        self._dropped.labels(challenger.name, str(challenger.version)).inc()

    def count_withdrawn(self, challenger: Manifest) -> None:
        """Count a challenger that was withdrawn."""
        self._withdrawn.labels(challenger.name, str(challenger.version)).inc()
