"""Advance a watch: compare the promoted version with its predecessor, and roll it back if it is worse.

The last promotion is read from the registry, so alias moves by other tools are followed. The outcome `worse` is stored
before the rollback, and the registry records the rollback, so a crash in between is resumed by the next run and nothing
is done twice.
"""

from __future__ import annotations

from datetime import datetime

from mnistflow.monitoring.config import MonitorConfig
from mnistflow.monitoring.watch import decision, evidence, record
from mnistflow.monitoring.watch.record import Watch
from mnistflow.paths import Paths
from mnistflow.registry import promotion, versions
from mnistflow.registry.aliases import Move
from mnistflow.registry.repository import reconciliation
from mnistflow.tracking.store import open_store


def advance(paths: Paths, dataset: str, config: MonitorConfig, log: str, now: datetime) -> Watch | None:
    """Look at the champion that the gate promoted last, and roll it back if it is worse than the one before.

    The caller has locked `state.lock`.

    Args:
        paths: of the checkout.
        dataset: name of the data set.
        config: section `monitor` of params.yaml.
        log: path or URL of the inference log.
        now: time of the look.

    Returns:
        The last watch, stored; None if there never was one.

    Raises:
        DataError: the log or the record cannot be read.
        RegistryError: the champion is worse, and the one before cannot be published.
    """
    name = versions.model_name(dataset)
    reconciliation.reconcile(paths, name)  # completes the move of a killed process, and publishes the champion
    model = open_store().model(name)
    known, last = record.read(paths, name), Move.of(model) if model else None
    watch = _of_last_promotion(known, last)
    if watch and watch.outcome == "watching":
        watch = watch.looked_at(now)
        found = evidence.gather(paths, name, watch.version, watch.predecessor, log, watch.began, config.watch_labels)
        watch = decision.decide(watch, found, now - watch.began, config)
    if watch and watch != known:
        record.write(paths, name, watch)
    if watch and watch.outcome == "worse" and config.rollback:
        promotion.rollback(paths, name, f"watch: {watch.reason}", replacing=watch.version)
        watch = watch.model_copy(update={"outcome": "rolled back", "announced": False})
        record.write(paths, name, watch)
    return watch


def _of_last_promotion(known: Watch | None, last: Move | None) -> Watch | None:
    """Return the watch of the last promotion, as of before this look."""
    if last is None:
        return known
    since = last.line.partition(" ")[0]
    if known and known.since == since:
        return known
    if last.by == "gate" and last.replaced is not None:
        return Watch(version=last.version, predecessor=last.replaced, since=since)
    if known is None or not known.is_open:
        return known
    if known.outcome == "worse" and last.by == "rollback" and last.replaced == known.version:
        return known.model_copy(update={"outcome": "rolled back"})
    became = f"version {last.version} became champion by {last.by}"
    return known.model_copy(update={"outcome": "overtaken", "reason": became, "announced": True})
