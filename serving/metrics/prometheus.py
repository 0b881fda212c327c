"""Prometheus: composes all metrics of a server, over all of its workers. No label has a client's value."""

import os
from collections.abc import Callable, Iterator, Mapping

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Metric,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector

from serving.metrics.model_metrics import MODEL, BatchMetrics, VersionMetrics
from serving.metrics.process_metrics import ProcessMetrics
from serving.metrics.request_metrics import RequestMetrics
from serving.metrics.rollout_metrics import RolloutMetrics
from serving.metrics.triton import triton_metrics, versions

# The variable of prometheus_client that makes workers share their counters through a folder.
SHARED_COUNTERS = "PROMETHEUS_MULTIPROC_DIR"

# The `_created` series would be half of all lines; that a counter was reset shows in its value as well.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the package types all but this


class Metrics:
    """All metrics of a server.

    Attributes:
        requests, batches, versions, rollouts: counters by subject.
        waiting: returns how many requests wait in this process, by model and version; called when metrics are exposed.
        waiting_images: returns how many images wait for conversion in this process; called likewise.
    """

    content_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        registry = CollectorRegistry()
        is_shared = SHARED_COUNTERS in os.environ
        self._exposed = registry
        if is_shared:
            self._exposed = CollectorRegistry()
            MultiProcessCollector(self._exposed)  # type: ignore[no-untyped-call]  # the package types all but this
        self.requests = RequestMetrics(registry)
        self.batches = BatchMetrics(registry)
        self.versions = VersionMetrics(registry, is_shared=is_shared)
        self.rollouts = RolloutMetrics(registry)
        self._process = ProcessMetrics(is_shared=is_shared)
        self.waiting: Callable[[], Mapping[tuple[str, str], int]] = dict
        self.waiting_images: Callable[[], int] = int

    def exposition(self) -> bytes:
        """Return all metrics in Prometheus' text format, of type `content_type`."""
        return generate_latest(self) + generate_latest(self._process)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics of all workers, under own names and under Triton's."""
        families = [*self._exposed.collect(), self._waiting_requests(), self._waiting_images()]
        yield from families
        yield from triton_metrics(versions(families))

    def values(self, *names: str) -> Mapping[tuple[str, ...], float]:
        """Return samples of all workers, by name, model, version and, where a sample has one, role."""
        return {
            (sample.name, *(sample.labels[label] for label in (*MODEL, "role") if label in sample.labels)): sample.value
            for family in self.collect()
            for sample in family.samples
            if sample.name in names
        }

    def _waiting_requests(self) -> Metric:
        family = GaugeMetricFamily(
            "mnistflow_waiting_requests", "Requests in the queue of the worker that answers the scrape.", labels=MODEL
        )
        for labels, requests in self.waiting().items():
            family.add_metric(labels, requests)
        return family

    def _waiting_images(self) -> Metric:
        return GaugeMetricFamily(
            "mnistflow_waiting_images",
            "Image files that wait for conversion in the worker that answers the scrape.",
            self.waiting_images(),
        )
