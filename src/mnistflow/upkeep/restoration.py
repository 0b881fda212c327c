"""Restoration of `var/` from a backup, in any checkout.

The archive is unpacked beside `var/`, checked, and then takes its place: a damaged archive or a kill changes nothing.
What a kill leaves beside `var/` is cleared by the next restoration.
Runs that were under way have no process in the restored copy: they are KILLED there.
"""

from __future__ import annotations

import gzip
import json
import sqlite3
import tarfile
import time
import zlib
from contextlib import closing
from pathlib import Path

from mnistflow import archives, files
from mnistflow.checkout import service_lock
from mnistflow.errors import DataError, MnistflowError
from mnistflow.paths import Paths
from mnistflow.pipeline import workspace
from mnistflow.upkeep import backup
from mnistflow.upkeep.backup import LOCK, SUMMARY, Backup

# What a killed restoration leaves beside `var/`, see `files.atomic_write`.
UNPACKED, FORMER = ".tmp", ".old"
VAR = "var/"
LOCATION = "mlflow/location"  # see `checkout.relocation`


def restore(paths: Paths, archive: Path, *, replace: bool) -> Backup:
    """Unpack an archive as the `var/` of a checkout, and its dvc.lock if the checkout has none.

    Args:
        paths: of the checkout.
        archive: that `backup.write` has written.
        replace: whether what is in `var/` is removed.

    Raises:
        MnistflowError: `var/` is not empty, or a service or a run uses it.
        DataError: the archive is missing, damaged or incomplete, or cannot be unpacked.
    """
    if not archive.is_file():
        raise DataError(f"{archive} is missing", "Name a file that `mnistflow backup` has written.")
    with service_lock.exclusive(paths):
        _bring_back(paths)
    with service_lock.exclusive(paths):  # of the `var/` that came back
        return _restore(paths, archive, replace=replace)


def _restore(paths: Paths, archive: Path, *, replace: bool) -> Backup:
    if _has_files(paths.var) and not replace:
        raise MnistflowError(f"{paths.var} is not empty", "Restore into another checkout, or replace it: --replace.")
    if any(workspace.is_used(folder) for folder in paths.runs.glob("*")):
        raise MnistflowError(f"a retraining or sweep is running in {paths.checkout}", "Wait until it has ended.")
    for leftover in _leftovers(paths, UNPACKED, FORMER):
        files.remove(leftover)
    with files.atomic_folder(paths.var.resolve()) as temporary:
        restored, lock = _unpack(archive, temporary)
        _close_runs(temporary / "mlflow/mlflow.db")
        if lock is not None and not (paths.checkout / LOCK).exists():
            with files.atomic_write(paths.checkout / LOCK) as path:
                path.write_bytes(lock)
    return restored


def former_contents(paths: Paths) -> list[Path]:
    """Return folders with a former `var/` that a killed restoration has not removed."""
    return _leftovers(paths, FORMER)


def is_replaced(former: Path) -> bool:
    """Return whether the archive had taken the place of a former `var/` before the kill."""
    return not former.with_suffix(UNPACKED).exists()


def _bring_back(paths: Paths) -> None:
    """Bring back the former `var/` if the kill came before the archive had taken its place."""
    for former in former_contents(paths):
        if not (is_replaced(former) or _has_files(paths.var)):
            files.remove(paths.var.resolve())
            former.replace(paths.var.resolve())


def _has_files(var: Path) -> bool:
    """Return whether there are files other than those that any command writes for itself: locks and `LOCATION`."""
    found = (path for path in var.rglob("*") if path.is_file())
    return any(path.suffix != ".lock" and path != var / LOCATION for path in found)


def _leftovers(paths: Paths, *suffixes: str) -> list[Path]:
    var = paths.var.resolve()  # which may be a link to a folder on another disk
    return [path for path in sorted(var.parent.glob(f".{var.name}.*")) if path.suffix in suffixes]


def _unpack(archive: Path, folder: Path) -> tuple[Backup, bytes | None]:
    """Unpack an archive into a folder, and return its summary and the content of dvc.lock.

    Raises:
        DataError: the archive is damaged, incomplete, or none of this project.
    """
    try:
        with gzip.open(archive) as stream, tarfile.open(fileobj=stream, mode="r:") as content:
            found, expected, lock = _extract(content, folder)
            while stream.read(1 << 20):  # up to the checksum
                pass
    except (tarfile.TarError, gzip.BadGzipFile, EOFError, zlib.error, ValueError, DataError) as error:
        raise DataError(f"{archive} is not a complete backup: {error}", "Use another one.") from error
    if found != expected:
        raise DataError(f"{archive} is not a complete backup: {found} instead of {expected}", "Use another one.")
    return found, lock


def _extract(content: tarfile.TarFile, folder: Path) -> tuple[Backup, Backup | None, bytes | None]:
    """Extract each file, and return what was found, what the summary says, and the content of dvc.lock."""
    count = size = 0
    expected, lock = None, None
    for entry in content:
        count, size = count + 1, size + entry.size
        if entry.name.startswith(VAR):
            entry.name = entry.name.removeprefix(VAR)
            archives.extract(content, entry, folder)
        elif entry.name in (LOCK, SUMMARY) and (stream := content.extractfile(entry)):
            if entry.name == LOCK:
                lock = stream.read()
            else:
                expected = backup.summary_of(json.load(stream))
                count, size = count - 1, size - entry.size
        else:
            raise DataError(f"unknown entry {entry.name!r}")
    return Backup(count, size), expected, lock


def _close_runs(store: Path) -> None:
    """End the runs of MLflow's store that were under way: their processes are not those of this copy."""
    if store.is_file():
        with closing(sqlite3.connect(store)) as connection:
            connection.execute(
                "update runs set status = 'KILLED', end_time = ? where status in ('RUNNING', 'SCHEDULED')",
                (int(time.time() * 1000),),
            )
            connection.commit()
