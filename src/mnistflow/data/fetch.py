"""Stage fetch: downloads or generates the raw files of a data set, and verifies them."""

import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock

from mnistflow import files
from mnistflow.data import catalog, raw
from mnistflow.data.config import FetchConfig
from mnistflow.data.entry import Entry, File, source_of
from mnistflow.data.sources.download import FileUnavailable, Progress, copy_or_download, matches
from mnistflow.data.sources.mirrors import MIRRORS_VARIABLE, Location, configured_mirrors, locations
from mnistflow.errors import DataError, MirrorsExhausted
from mnistflow.paths import Paths
from mnistflow.transient import is_transient

log = logging.getLogger(__name__)

SOURCES = "source.json"
FIX = f"Set {MIRRORS_VARIABLE} to a folder or URL with <data set>/<file>, or change fetch.mirrors."


@dataclass(frozen=True)
class Fetched:
    """Result of stage fetch.

    Attributes:
        dataset: name of the data set.
        files: number of raw files.
        bytes: total size of the raw files.
        sha256: hash over all raw files.
    """

    dataset: str
    files: int
    bytes: int
    sha256: str


def fetch(paths: Paths, config: FetchConfig) -> Fetched:
    """Replace the workspace's raw files by those of the configured data set.

    Raises:
        ConfigError: the data set is unknown.
        MirrorsExhausted: no mirror provided one of its files.
        DataError: a folder cannot be written, or the user's own data is unusable.
    """
    entry = configured(config, paths)
    raw_files = acquire(entry, configured_mirrors(config, os.environ), paths, config)
    data = raw.describe(entry, raw_files)
    raw.save(paths.raw, data, raw_files)
    return Fetched(data.name, len(data.files), sum(file.bytes for file in data.files.values()), data.sha256)


def configured(config: FetchConfig, paths: Paths) -> Entry:
    """Return the configured data set: a known one, or a user's own images or series.

    Raises:
        ConfigError: the data set is unknown.
        DataError: the user's own data is unusable.
    """
    path = config.own.get(source_of(config.dataset))
    if path is None:
        return catalog.get(config.dataset)
    return catalog.own_data_set(config.dataset, _own_path(path, paths))


def pin(config: FetchConfig, paths: Paths) -> dict[str, str]:
    """Return overrides, by dotted key, that fix the data set of a run before it starts.

    They are the name of the fallback if it is needed, and the fingerprint of a user's own data.

    Raises:
        ConfigError, MirrorsExhausted, DataError: as `choose_dataset`.
    """
    chosen = choose_dataset(config, paths)
    if chosen != config.dataset:
        return {"fetch.dataset": chosen}
    fingerprint = configured(config, paths).fingerprint
    return {"fetch.fingerprint": fingerprint} if fingerprint else {}


def warnings(config: FetchConfig, paths: Paths) -> tuple[str, ...]:
    """Return a line for each kind of files and folders among a user's own images that are not used."""
    from mnistflow.data.sources import own_images

    path = config.own.get(source_of(config.dataset))
    return own_images.unused(_own_path(path, paths)) if path else ()


def _own_path(path: str, paths: Paths) -> Path:
    return (paths.checkout / Path(path).expanduser()).resolve()


def choose_dataset(config: FetchConfig, paths: Paths) -> str:
    """Return the name of the configured data set if it is available, else of the fallback.

    Callers show `fallback_warning` if they differ.

    Raises:
        ConfigError: the data set is unknown.
        MirrorsExhausted: the data set is not available, and no fallback is configured.
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
        log.info("%s", error.problem)
        return catalog.get(config.fallback).name
    return config.dataset


def fallback_warning(requested: str, fallback: str) -> str:
    """Return a warning that a run uses the fallback instead of the requested data set."""
    return (
        f"NO MIRROR PROVIDED {requested}: USING {fallback} INSTEAD. This run, its model and its metrics are those of "
        f"{fallback}, not of {requested}. {FIX} fetch.fallback: null makes this an error."
    )


def acquire(entry: Entry, mirrors: Sequence[str], paths: Paths, config: FetchConfig) -> tuple[Path, ...]:
    """Download or generate the raw files of a data set in its download folder, and return their paths.

    Existing files with the right hash are not downloaded again, and interrupted downloads are resumed, also by another
    process. The source of each file is written to `source.json` in the same folder.

    Args:
        entry: the data set.
        mirrors: tried in this order; see `sources.mirrors`.
        paths: of the download folder, and of the checkout that relative mirrors start from.
        config: attempts, back-off and timeout.

    Raises:
        MirrorsExhausted: no mirror provided one of the files.
        DataError: the download folder cannot be written.
    """
    folder = paths.downloads / source_of(entry.name)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".lock"):
            if entry.generate is not None:
                done = f"reading {entry.origin}" if entry.origin else "generated, nothing to download"
                log.info("%s: %s", entry.name, done)
                return entry.generate(folder)
            acquired = {
                name: _acquire_file(folder / name, file, locations(entry, name, mirrors, paths.checkout), config)
                for name, file in entry.files.items()
            }
            _record_sources(folder / SOURCES, acquired)
    except OSError as error:
        raise DataError(
            f"cannot write {folder}: {error.strerror or error}",
            "Free disk space, or grant this user write permission.",
        ) from error
    return tuple(folder / name for name in entry.files)


def _acquire_file(target: Path, file: File, candidates: Sequence[Location], config: FetchConfig) -> str | None:
    """Download a file and return its source, or None if it exists already."""
    if matches(target, file):
        return None
    with _progress(target.name, file) as progress:
        location = _download_from_any(target, file, candidates, config, progress)
    log.info("%s: %d bytes from %s", target.name, file.bytes, _without_credentials(location))
    return _without_credentials(location)


def _download_from_any(
    target: Path, file: File, candidates: Sequence[Location], config: FetchConfig, progress: Progress
) -> Location:
    """Try all locations before each delay, so that an unavailable mirror costs no time if another is available."""
    failures: dict[Location, FileUnavailable] = {}
    for attempt in range(config.attempts):
        remaining = [location for location in candidates if location not in failures or failures[location].transient]
        if attempt and remaining:
            time.sleep(config.backoff_seconds * 2 ** (attempt - 1))
            log.debug("%s: attempt %d of %d", target.name, attempt + 1, config.attempts)
        for location in remaining:
            try:
                copy_or_download(location, target, file, config.timeout_seconds, progress)
                return location
            except FileUnavailable as error:
                if str(error) != str(failures.get(location)):
                    log.debug("%s: %s: %s", target.name, _without_credentials(location), error)
                failures[location] = error
    wanted = f"{target.parent.name}/{target.name}"
    raise MirrorsExhausted(
        f"none of {len(failures)} mirrors provided {wanted}: {_reasons(failures)}"
        if failures
        else f"no mirror is configured for {wanted}",
        FIX,
        transient=any(_may_be_available_later(error) for error in failures.values()),
    )


def _reasons(failures: Mapping[Location, FileUnavailable]) -> str:
    """Return each reason once, the commonest first, with the first location that had it and the number of others."""
    locations: dict[str, list[Location]] = {}
    for location, error in failures.items():
        locations.setdefault(str(error), []).append(location)
    commonest = sorted(locations.items(), key=lambda item: len(item[1]), reverse=True)
    return "; ".join(f"{reason} ({_short(first)}{_others(others)})" for reason, (first, *others) in commonest)


def _others(locations: Sequence[Location]) -> str:
    if not locations:
        return ""
    return f" and {len(locations)} other{'s' if len(locations) > 1 else ''}"


def _may_be_available_later(error: FileUnavailable) -> bool:
    """Return whether a location may provide the file later, for retries of the whole task.

    A connection that times out is transient for the task, but not retried here, because each attempt is slow.
    """
    return error.transient or (error.__cause__ is not None and is_transient(error.__cause__))


def sources(paths: Paths, dataset: str) -> dict[str, str]:
    """Return where each raw file of a data set was downloaded from; nothing if it was generated, or not here."""
    path = paths.downloads / source_of(dataset) / SOURCES
    return dict(files.read_json(path, files.DELETE)) if path.is_file() else {}


def _record_sources(path: Path, sources: dict[str, str | None]) -> None:
    fetched = {name: source for name, source in sources.items() if source is not None}
    if fetched:
        known = files.read_json(path, files.DELETE) if path.is_file() else {}
        files.write_json(path, known | fetched)


@contextmanager
def _progress(name: str, file: File) -> Iterator[Progress]:
    """Show a progress bar while the block runs, if standard error is a terminal."""
    from rich import progress
    from rich.console import Console

    console = Console(stderr=True)
    columns = progress.TextColumn("{task.description}"), progress.BarColumn(), progress.DownloadColumn()
    with progress.Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        task = bars.add_task(name, total=file.bytes)
        yield lambda received: bars.update(task, completed=received)


def _without_credentials(location: Location) -> str:
    if isinstance(location, Path):
        return str(location)
    return urlsplit(location)._replace(netloc=_host(location)).geturl()


def _short(location: Location) -> str:
    return str(location.parent) if isinstance(location, Path) else _host(location)


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]
