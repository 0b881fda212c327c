"""Choice of a data set: the one that a command names, or else the current one."""

from __future__ import annotations

from mnistflow.data import catalog
from mnistflow.data.config import FetchConfig
from mnistflow.data.entry import source_of
from mnistflow.errors import ConfigError
from mnistflow.paths import Paths
from mnistflow.registry import versions
from mnistflow.registry.repository import publisher
from mnistflow.tracking.store import open_store


def current(paths: Paths, config: FetchConfig) -> str:
    """Return the configured data set, or its fallback when only the fallback has a champion, or any run at all."""
    wanted, fallback = config.dataset, config.fallback
    if fallback is None or _has_champion(paths, wanted):
        return wanted
    is_fallback = _has_champion(paths, fallback) or (_has_runs(fallback) and not _has_runs(wanted))
    return fallback if is_fallback else wanted


def choose(paths: Paths, config: FetchConfig, name: str | None) -> str:
    """Return the data set of that name; without one, the current one.

    Raises:
        ConfigError: no data set of that name is known, nor has any run used one.
    """
    if name is None:
        return current(paths, config)
    if _has_champion(paths, name):
        return name
    known = {*catalog.entries(), *config.own}
    if name not in known and source_of(name) not in config.own and not _has_runs(name):
        raise ConfigError(f"unknown data set {name!r}", f"Known: {', '.join(sorted(known))}.")
    return name


def choose_model(paths: Paths, config: FetchConfig, dataset: str | None) -> str:
    """Return the registered name of the models of a data set; without one, of the current one.

    Raises:
        ConfigError: no data set of that name is known, nor has any run used one.
    """
    return versions.model_name(choose(paths, config, dataset))


def _has_champion(paths: Paths, dataset: str) -> bool:
    return publisher.published_champion(paths, versions.model_name(dataset)) is not None


def _has_runs(dataset: str) -> bool:
    return open_store().experiment_id(dataset) is not None
