"""Look: compares the traffic since the last look with the champion's reference, and stores the result.

A look is an interim analysis in the sense of sequential testing. One that crashed before it stored its state is
repeated by the next one.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from mnistflow.data import inference_log
from mnistflow.errors import RegistryError
from mnistflow.monitoring import accuracy, alarm_plot, reference, series, state, statistics, traffic
from mnistflow.monitoring.config import MonitorConfig
from mnistflow.monitoring.detection import Detector
from mnistflow.monitoring.findings import Findings, Sample, examine
from mnistflow.monitoring.reference import Reference
from mnistflow.monitoring.state import Alarm, State
from mnistflow.monitoring.traffic import Cursor, Traffic
from mnistflow.paths import Paths
from mnistflow.registry import versions
from mnistflow.registry.versions import Version
from mnistflow.tracking import runs

FIRST_HOURS = 1.0  # of the first look at a version
MAX_HOURS = 168.0  # per look; a clock that jumps ahead must not count as a long time without change


@dataclass(frozen=True)
class Look:
    """Result of a look.

    Attributes:
        version: the champion; 0 without one.
        summary: the look in one line, or why there was nothing to look at.
        images: number of images; 0 if there were too few, and they wait for the next look.
        alarms: those that this look has raised.
        metrics: what was logged to MLflow, by name.
        run_id: of the run in MLflow; empty if there were too few images.
        plot: content of a PNG file; None without alarms.
    """

    model: str
    version: int
    summary: str
    images: int
    alarms: tuple[Alarm, ...]
    metrics: dict[str, float]
    run_id: str
    plot: bytes | None


@dataclass(frozen=True)
class _Comparison:
    """Traffic since the last look, compared with the champion's reference.

    Attributes:
        state: as before the look.
    """

    champion: Version
    state: State
    reference: Reference
    traffic: Traffic
    findings: Findings
    now: datetime

    @property
    def time(self) -> str:
        """Time of the look, ISO 8601, UTC."""
        return self.now.astimezone(UTC).isoformat(timespec="seconds")

    @property
    def alarms(self) -> tuple[Alarm, ...]:
        """Alarms that this look raises."""
        return tuple(
            Alarm(time=self.time, version=self.champion.number, check=check, reason=reason)
            for check, reason in self.findings.alarms.items()
        )

    @property
    def right(self) -> int:
        """Number of right predictions among those with feedback, in all looks at this version."""
        return self.state.right + int(self.traffic.right.sum())

    @property
    def labelled(self) -> int:
        """Number of predictions with feedback, in all looks at this version."""
        return self.state.labelled + len(self.traffic.right)

    @cached_property
    def labelled_accuracy(self) -> accuracy.Interval | None:
        """Accuracy by all feedback on this version; None without any."""
        return accuracy.confidence_sequence(self.right, self.labelled) if self.labelled else None


def run(paths: Paths, dataset: str, config: MonitorConfig, log: str, now: datetime) -> Look:
    """Look at the champion of a data set.

    Args:
        paths: of the checkout.
        dataset: name of the data set.
        config: section `monitor` of params.yaml.
        log: path or URL of the inference log.
        now: time of the look.

    Raises:
        DataError: the log or the state cannot be read.
        MnistflowError: another look is under way.
    """
    name = versions.model_name(dataset)
    with state.exclusive(paths, name):
        champion = versions.version_of_alias(name, versions.CHAMPION)
        if champion is None:
            return _skipped(name, 0, f"{name} has no champion to look at")
        return _run(paths, dataset, champion, config, log, now)


def _run(paths: Paths, dataset: str, champion: Version, config: MonitorConfig, log: str, now: datetime) -> Look:
    before = _starting_state(state.read(paths, champion.name), champion, log)
    try:
        expected = reference.load(champion)
    except RegistryError as error:
        return _skipped(champion.name, champion.number, str(error))
    shape = expected.images.shape[1:]
    since = Cursor(before.row, before.feedback_row)
    waiting = traffic.waiting(log, champion, shape, since)
    if waiting < config.window:
        summary = f"{champion.title}: {waiting} images since the last look; the next needs {config.window}"
        return _skipped(champion.name, champion.number, summary)
    recent = traffic.read(log, champion, shape, since, config.most)
    hours = (now - datetime.fromisoformat(before.looked)).total_seconds() / 3600 if before.looked else FIRST_HOURS
    detectors = {check: Detector(components) for check, components in before.evidence.items()}
    sample = Sample(statistics.of_images(recent.images), recent.probabilities, recent.right)
    findings = examine(expected, sample, detectors, min(max(hours, 0.0), MAX_HOURS), config)
    return _record(paths, dataset, _Comparison(champion, before, expected, recent, findings, now))


def _skipped(name: str, number: int, summary: str) -> Look:
    """Return a look that has seen no image."""
    return Look(name, number, summary, 0, (), {}, "", None)


def _starting_state(before: State | None, champion: Version, log: str) -> State:
    """Return the state before a look: a new champion starts without evidence, at the current position in the log."""
    if before is None:
        return State(version=champion.number)
    if before.version != champion.number:
        kept = before.model_dump(include={"row", "feedback_row", "looked", "alarms", "attempts", "asked"})
        before = State(version=champion.number, **kept)
    # A log that was deleted counts from 1 again.
    is_new = inference_log.last_row(log) < before.row
    return before.model_copy(update={"row": 0, "feedback_row": 0}) if is_new else before


def _record(paths: Paths, dataset: str, compared: _Comparison) -> Look:
    """Log a look to MLflow, write its gauges, and store the state, in this order: a crash repeats the look."""
    champion, images = compared.champion, len(compared.traffic.images)
    raised, summary = compared.alarms, _summary(compared)
    run = series.open_run(paths, dataset, champion, compared.state.run_id)
    values = series.metrics(compared.findings, compared.labelled_accuracy, images)
    plot = _log_plot(run, compared, summary) if raised else None
    run.log_metrics(values, step=compared.state.looks + 1)
    after = _next_state(compared, run.run_id, summary)
    of_version = sum(alarm.version == champion.number for alarm in after.alarms)
    gauges = state.folder(paths, champion.name) / series.GAUGES
    series.write_gauges(gauges, champion, values, time=compared.now.timestamp(), alarms=of_version)
    state.write(paths, champion.name, after)
    return Look(champion.name, champion.number, summary, images, raised, values, run.run_id, plot)


def _log_plot(run: runs.Run, compared: _Comparison, summary: str) -> bytes:
    """Log the plot of an alarm to MLflow, and return the PNG file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{compared.time.replace(':', '-')}.png"
        alarm_plot.write(path, compared.reference, compared.traffic.images, summary)
        run.log_file(path, "alarms")
        return path.read_bytes()


def _next_state(compared: _Comparison, run_id: str, summary: str) -> State:
    before, cursor = compared.state, compared.traffic.cursor
    after = {
        "run_id": run_id,
        "row": cursor.row,
        "feedback_row": cursor.feedback_row,
        "looked": compared.time,
        "looks": before.looks + 1,
        "evidence": {check: found.detector.components for check, found in compared.findings.results.items()},
        "right": compared.right,
        "labelled": compared.labelled,
        "alarms": (*before.alarms, *compared.alarms),
        "summary": summary,
    }
    return before.model_copy(update=after)


def _summary(compared: _Comparison) -> str:
    raised = compared.alarms
    parts = [f"{compared.champion.title}: {len(compared.traffic.images)} images"]
    parts.append("; ".join(f"ALARM {alarm.check}: {alarm.reason}" for alarm in raised) or "no alarm")
    doubtful = any(alarm.check in ("inputs", "outputs") for alarm in raised)
    parts.append(f"estimated accuracy {compared.findings.estimated}{', unreliable under drift' if doubtful else ''}")
    if compared.labelled_accuracy:
        parts.append(f"of {compared.labelled} labelled {compared.labelled_accuracy}")
    return "; ".join(parts)
