"""Look: compares the traffic since the last look with the champion's reference, and stores the result.

A look is an interim analysis in the sense of sequential testing. One that crashed before it stored its state is
repeated by the next one.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mnistflow import files
from mnistflow.errors import MnistflowError, RegistryError
from mnistflow.monitoring import accuracy, pictures, reference, series, state, statistics, traffic
from mnistflow.monitoring.config import MonitorConfig
from mnistflow.monitoring.detection import Detector
from mnistflow.monitoring.findings import Findings, Sample, examine
from mnistflow.monitoring.reference import Reference
from mnistflow.monitoring.state import Alarm, State
from mnistflow.monitoring.traffic import Cursor, Traffic
from mnistflow.paths import Paths
from mnistflow.registry import versions
from mnistflow.registry.versions import Version

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
        picture: content of a PNG file; None without alarms.
    """

    model: str
    version: int
    summary: str
    images: int
    alarms: tuple[Alarm, ...]
    metrics: dict[str, float]
    run_id: str
    picture: bytes | None


def take(paths: Paths, dataset: str, config: MonitorConfig, log: str, now: datetime) -> Look:
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
    with files.claim(state.lock(paths, name)) as alone:
        if not alone:
            raise MnistflowError(f"another look at {name} is under way", "Try again in a moment.", transient=True)
        champion = versions.version_of_alias(name, versions.CHAMPION)
        if champion is None:
            return _skipped(name, 0, f"{name} has no champion to look at")
        return _take(paths, dataset, champion, config, log, now)


def _take(paths: Paths, dataset: str, champion: Version, config: MonitorConfig, log: str, now: datetime) -> Look:
    before = _starting_state(state.read(paths, champion.name), champion, log)
    try:
        known = reference.load(champion)
    except RegistryError as error:
        return _skipped(champion.name, champion.number, str(error))
    shape = known.images.shape[1:]
    since = Cursor(before.row, before.feedback)
    waiting = traffic.waiting(log, champion, shape, since)
    if waiting < config.window:
        summary = f"{_title(champion)}: {waiting} images since the last look; the next needs {config.window}"
        return _skipped(champion.name, champion.number, summary)
    seen = traffic.read(log, champion, shape, since, config.most)
    hours = (now - datetime.fromisoformat(before.looked)).total_seconds() / 3600 if before.looked else FIRST_HOURS
    detectors = {check: Detector(components) for check, components in before.evidence.items()}
    sample = Sample(statistics.of_images(seen.images), seen.probabilities, seen.right)
    findings = examine(known, sample, detectors, min(max(hours, 0.0), MAX_HOURS), config)
    return _keep(paths, dataset, champion, before, known, seen, findings, now)


def _skipped(name: str, number: int, summary: str) -> Look:
    """Return a look that has seen no image."""
    return Look(name, number, summary, 0, (), {}, "", None)


def _starting_state(before: State | None, champion: Version, log: str) -> State:
    """Return the state before a look: a new champion starts without evidence, at the current position in the log."""
    if before is None:
        return State(version=champion.number)
    if before.version != champion.number:
        kept = before.model_dump(include={"row", "feedback", "looked", "alarms", "attempts", "asked"})
        before = State(version=champion.number, **kept)
    # A log that was deleted counts from 1 again.
    return before if traffic.last_row(log) >= before.row else before.model_copy(update={"row": 0})


def _keep(
    paths: Paths,
    dataset: str,
    champion: Version,
    before: State,
    known: Reference,
    seen: Traffic,
    findings: Findings,
    now: datetime,
) -> Look:
    """Log a look to MLflow, write its gauges, and store the state, in this order: a crash repeats the look."""
    right, labelled = before.right + int(seen.right.sum()), before.labelled + len(seen.right)
    by_labels = accuracy.confidence_sequence(right, labelled) if labelled else None
    time = now.astimezone(UTC).isoformat(timespec="seconds")
    raised = tuple(
        Alarm(time=time, version=champion.number, check=check, reason=reason)
        for check, reason in findings.alarms.items()
    )
    alarms = (*before.alarms, *raised)
    summary = _summary(champion, len(seen.images), raised, findings, by_labels, labelled)
    run = series.open_run(paths, dataset, champion, before.run_id)
    values = series.metrics(findings, by_labels, len(seen.images))
    picture = None
    if raised:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"{time.replace(':', '-')}.png"
            pictures.draw(path, known, seen.images, summary)
            run.log_file(path, "alarms")
            picture = path.read_bytes()
    run.log_metrics(values, step=before.looks + 1)
    of_version = sum(alarm.version == champion.number for alarm in alarms)
    gauges = state.folder(paths, champion.name) / series.GAUGES
    series.write_gauges(gauges, champion, values, time=now.timestamp(), alarms=of_version)
    after = {
        "run_id": run.run_id,
        "row": seen.cursor.row,
        "feedback": seen.cursor.feedback,
        "looked": time,
        "looks": before.looks + 1,
        "evidence": {check: found.detector.components for check, found in findings.results.items()},
        "right": right,
        "labelled": labelled,
        "alarms": alarms,
        "summary": summary,
    }
    state.write(paths, champion.name, before.model_copy(update=after))
    return Look(champion.name, champion.number, summary, len(seen.images), raised, values, run.run_id, picture)


def _title(version: Version) -> str:
    return f"{version.name} version {version.number}"


def _summary(
    version: Version,
    images: int,
    raised: Sequence[Alarm],
    findings: Findings,
    by_labels: accuracy.Interval | None,
    labelled: int,
) -> str:
    parts = [f"{_title(version)}: {images} images"]
    parts.append("; ".join(f"ALARM {alarm.check}: {alarm.reason}" for alarm in raised) or "no alarm")
    doubtful = any(alarm.check in ("inputs", "outputs") for alarm in raised)
    parts.append(f"estimated accuracy {findings.estimated}{', unreliable under drift' if doubtful else ''}")
    if by_labels:
        parts.append(f"of {labelled} labelled {by_labels}")
    return "; ".join(parts)
