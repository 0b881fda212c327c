"""Promotion watch: the monitor flow's step that keeps the last promoted version or rolls it back, and notifies."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from flows.orchestration.notifications import Event
from mnistflow.monitoring import state
from mnistflow.monitoring.config import MonitorConfig
from mnistflow.monitoring.watch import record, step
from mnistflow.monitoring.watch.record import Outcome, Watch
from mnistflow.paths import Paths
from mnistflow.registry import versions

EVENTS: dict[Outcome, Event] = {"rolled back": "withdrawn", "worse": "alarm", "kept": "kept"}


def advance(
    paths: Paths,
    dataset: str,
    config: MonitorConfig,
    log: str,
    now: datetime,
    notify: Callable[[Event, str, str], None],
) -> Watch | None:
    """Advance the watch: continue, end, or roll back; return it, or None if there was never any.

    Args:
        paths: of the checkout.
        dataset: name of the data set.
        config: section `monitor` of params.yaml.
        log: path or URL of the inference log.
        now: time of the look.
        notify: sends a notification: event, name of the model, text. A kill right after it repeats it at the next look.

    Raises:
        DataError: the log or the record of the watch cannot be read.
        MnistflowError: another look is under way, or the version before cannot be published.
    """
    name = versions.model_name(dataset)
    with state.exclusive(paths, name):
        watch = step.advance(paths, dataset, config, log, now)
        if watch and watch.outcome in EVENTS and not watch.announced:
            event = EVENTS[watch.outcome]
            notify(event, name, f"{event}: {name} version {watch.version}: {watch.reason}")
            watch = watch.model_copy(update={"announced": True})
            record.write(paths, name, watch)
        return watch
