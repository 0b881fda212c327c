"""Series of looks: metrics of a run in MLflow for each monitored version, and gauges in a file for Prometheus."""

from __future__ import annotations

from pathlib import Path

from mnistflow.monitoring.accuracy import Interval
from mnistflow.monitoring.findings import Findings
from mnistflow.paths import Paths
from mnistflow.registry.versions import Version
from mnistflow.tracking import runs

GAUGES = "metrics.prom"


def experiment(dataset: str) -> str:
    """Return the name of the experiment with the series of a data set's models, apart from the runs that train."""
    return f"{dataset}-monitor"


def open_run(paths: Paths, dataset: str, version: Version, run_id: str) -> runs.Run:
    """Return the run with the series of a version; a new one unless `run_id` exists.

    The run has always ended: a look takes seconds, and no process owns the series.
    """
    if run_id and runs.exists(run_id):
        return runs.resume(run_id)
    tags = {runs.VERSION: f"{version.name}/{version.number}"}
    run = runs.start(paths, experiment(dataset), version.title, "monitor", tags=tags)
    run.finish()
    return run


def metrics(findings: Findings, labelled: Interval | None, images: int) -> dict[str, float]:
    """Return the metrics of a look.

    Args:
        findings: of the look.
        labelled: accuracy by feedback; None without any.
        images: number of images of the look.
    """
    values = {
        "images": float(images),
        **{f"evidence_{check}": min(found.evidence, 1.0) for check, found in findings.results.items()},
        **{f"distance_{name}": distance for name, distance in findings.distances.items()},
        **_of_interval("estimated_accuracy", findings.estimated),
    }
    return values | (_of_interval("labelled_accuracy", labelled) if labelled else {})


def _of_interval(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.estimate, f"{name}_low": interval.low, f"{name}_high": interval.high}


def write_gauges(path: Path, version: Version, values: dict[str, float], *, time: float, alarms: int) -> None:
    """Write the metrics of a look as gauges in the format of Prometheus, for node_exporter's textfile collector.

    Args:
        path: of the file, replaced atomically.
        version: the one that was monitored.
        values: see `metrics`.
        time: of the look, in seconds since 1970.
        alarms: number of alarms of this version so far.
    """
    from prometheus_client import CollectorRegistry, Gauge, write_to_textfile

    registry = CollectorRegistry()
    known = {**values, "look_timestamp_seconds": time, "alarms": float(alarms)}
    for name, value in known.items():
        gauge = Gauge(f"mnistflow_monitor_{name}", _meaning(name), ("model", "version"), registry=registry)
        gauge.labels(version.name, str(version.number)).set(value)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_to_textfile(str(path), registry)


def _meaning(name: str) -> str:
    kind, _, what = name.partition("_")
    return {
        "evidence": f"Evidence of a change of {what}, as a share of what raises an alarm.",
        "distance": f"Distance of {what} to the reference.",
        "look": "Time of the last look.",
        "alarms": "Alarms of this version so far.",
        "images": "Images of the last look.",
    }.get(kind, "Accuracy, or an end of its 95 % interval.")
