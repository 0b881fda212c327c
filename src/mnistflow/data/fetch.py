"""The stage fetch: brings the raw files of a data set into the workspace, verified."""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock

from mnistflow import files
from mnistflow.data import catalog, raw
from mnistflow.data.config import FetchConfig
from mnistflow.data.entry import Entry, File
from mnistflow.data.sources.download import Progress, UnobtainableError, matches, obtain
from mnistflow.data.sources.mirrors import MIRRORS_VARIABLE, Location, configured_mirrors, locations
from mnistflow.errors import DataError, MirrorsExhausted
from mnistflow.paths import Paths
from mnistflow.transient import is_transient

log = logging.getLogger(__name__)

FIX = f"Set {MIRRORS_VARIABLE} to a folder or URL that holds <data set>/<file>, or change fetch.mirrors."


@dataclass(frozen=True)
class Fetched:
    """What the stage put into the workspace.

    Attributes:
        dataset: its name.
        files: how many.
        bytes: their size together.
        sha256: identity of the raw data.
    """

    dataset: str
    files: int
    bytes: int
    sha256: str


def fetch(paths: Paths, config: FetchConfig) -> Fetched:
    """Acquire the configured data set and replace the workspace's raw files by it.

    Raises:
        ConfigError: no such data set.
        MirrorsExhausted: no mirror gave one of its files.
        DataError: a folder cannot be written.
    """
    entry = configured(config, paths)
    raw_files = acquire(entry, configured_mirrors(config, os.environ), paths, config)
    data = raw.describe(entry, raw_files)
    raw.save(paths.raw, data, raw_files)
    return Fetched(data.name, len(data.files), sum(file.bytes for file in data.files.values()), data.sha256)


def configured(config: FetchConfig, paths: Paths) -> Entry:
    """Return the configured data set: a known one, or the user's own of that name.

    Raises:
        ConfigError: no such data set.
        DataError: the user's own has no usable images.
    """
    path = config.own.get(config.dataset)
    if path is None:
        return catalog.get(config.dataset)
    return catalog.own_data_set(config.dataset, (paths.checkout / Path(path).expanduser()).resolve())


def pin(config: FetchConfig, paths: Paths) -> dict[str, str]:
    """Return the parameters, by dotted key, that make definite which data a run is about.

    They are the fallback's name when it has to do, and the fingerprint of a user's own images.

    Raises:
        ConfigError, MirrorsExhausted, DataError: as `choose_dataset`.
    """
    chosen = choose_dataset(config, paths)
    if chosen != config.dataset:
        return {"fetch.dataset": chosen}
    fingerprint = configured(config, paths).fingerprint
    return {"fetch.fingerprint": fingerprint} if fingerprint else {}


def choose_dataset(config: FetchConfig, paths: Paths) -> str:
    """Return the configured data set if it can be had, else the fallback's name; the caller says so loudly.

    Raises:
        ConfigError: no such data set.
        MirrorsExhausted: the data set cannot be had and no fallback is configured.
        DataError: the download folder cannot be written.
    """
    entry = configured(config, paths)
    if entry.generate is not None:
        return config.dataset
    try:
        acquire(entry, configured_mirrors(config, os.environ), paths, config)
    except MirrorsExhausted as error:
        if config.fallback is None:
            raise
        log.warning("%s", error)
        return catalog.get(config.fallback).name
    return config.dataset


def fallback_warning(wanted: str, fallback: str) -> str:
    """Return what to tell the user who asked for one data set and gets another."""
    return (
        f"NO MIRROR GAVE {wanted}: GOING ON WITH {fallback} INSTEAD. This run, its model and its figures are of "
        f"{fallback} and say nothing about {wanted}. {FIX} fetch.fallback: null makes this an error."
    )


def acquire(entry: Entry, mirrors: Sequence[str], paths: Paths, config: FetchConfig) -> tuple[Path, ...]:
    """Bring the raw files of a data set into its download folder and return their paths.

    What is there and right is not fetched again; what was cut off is continued, also by another process later. Where
    each file came from is written to `source.json` beside it.

    Args:
        entry: the data set.
        mirrors: as `mnistflow.data.mirrors` describes them, in the order to try them.
        paths: gives the download folder, and the home that relative folders start from.
        config: attempts, back-off and timeout.

    Raises:
        MirrorsExhausted: no mirror gave one of the files.
        DataError: the download folder cannot be written.
    """
    folder = paths.downloads / entry.name
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if entry.generate is not None:
                log.info("%s: made here, nothing to download", entry.name)
                return entry.generate(folder)
            sources = {
                name: _acquire_file(folder / name, file, locations(entry, name, mirrors, paths.checkout), config)
                for name, file in entry.files.items()
            }
            _remember(folder / "source.json", sources)
    except OSError as error:
        raise DataError(
            f"cannot write {folder}: {error.strerror or error}",
            "Free space on that disk, or give this user the right to write there.",
        ) from error
    return tuple(folder / name for name in entry.files)


def _acquire_file(target: Path, file: File, places: Sequence[Location], config: FetchConfig) -> str | None:
    """Return where the file came from: None if it was there."""
    if matches(target, file):
        return None
    with _progress(target.name, file) as progress:
        place = _first_that_gives(target, file, places, config, progress)
    log.info("%s: %d bytes from %s", target.name, file.bytes, _public(place))
    return _public(place)


def _first_that_gives(
    target: Path, file: File, places: Sequence[Location], config: FetchConfig, progress: Progress
) -> Location:
    """Try every place before waiting, so that one that is down costs no time while another is up."""
    failures: dict[Location, UnobtainableError] = {}
    for attempt in range(config.attempts):
        left = [place for place in places if place not in failures or failures[place].transient]
        if attempt and left:
            time.sleep(config.backoff_seconds * 2 ** (attempt - 1))
            log.info("%s: attempt %d of %d", target.name, attempt + 1, config.attempts)
        for place in left:
            try:
                obtain(place, target, file, config.timeout_seconds, progress)
                return place
            except UnobtainableError as error:
                if str(error) != str(failures.get(place)):
                    log.info("%s: %s: %s", target.name, _public(place), error)
                failures[place] = error
    reasons = "; ".join(f"{_short(place)}: {error}" for place, error in failures.items())
    raise MirrorsExhausted(
        f"no mirror gave {target.parent.name}/{target.name} ({reasons or 'none is configured'})",
        FIX,
        transient=any(_may_answer_later(error) for error in failures.values()),
    )


def _may_answer_later(error: UnobtainableError) -> bool:
    """Return whether a place may give the file later. Here, an unanswered connection is not tried again: it is slow."""
    return error.transient or (error.__cause__ is not None and is_transient(error.__cause__))


def _remember(path: Path, sources: dict[str, str | None]) -> None:
    fetched = {name: source for name, source in sources.items() if source is not None}
    if fetched:
        known = files.read_json(path) if path.is_file() else {}
        files.write_json(path, known | fetched)


@contextmanager
def _progress(name: str, file: File) -> Iterator[Progress]:
    """Show a progress bar while the block runs, if someone is looking."""
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    columns = progress.TextColumn("{task.description}"), progress.BarColumn(), progress.DownloadColumn()
    with progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(name, total=file.bytes)
        yield lambda received: bars.update(task, completed=received)


def _public(place: Location) -> str:
    """Return a place as it may be shown: without the credentials in a URL."""
    if isinstance(place, Path):
        return str(place)
    return urlsplit(place)._replace(netloc=_host(place)).geturl()


def _short(place: Location) -> str:
    return str(place.parent) if isinstance(place, Path) else _host(place)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
