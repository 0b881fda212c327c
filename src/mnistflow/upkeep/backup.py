"""Backup of `var/` into one archive, while servers and retrainings run.

The order makes the copy consistent. The model repository comes first, so that it may be behind the registry, which its
follower corrects, but never ahead. Databases come next, each as SQLite's backup API sees it at one moment, and then the
files that they name, which are written before their rows. The run cache of DVC comes before the files that it names.

What any command makes again is left out, and so are the workspaces of runs that are under way. Symbolic links are
followed: the archive contains the files and folders that they lead to.
"""

from __future__ import annotations

import json
import os
import sqlite3
import stat
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import mnistflow
from mnistflow import files
from mnistflow.environment import INFERENCE_LOG
from mnistflow.errors import ConfigError, DataError
from mnistflow.paths import Paths
from mnistflow.pipeline.workspace import OWNER
from mnistflow.registry.repository import publisher

FORMAT = 1
LOCK = "dvc.lock"
SUMMARY = "backup.json"  # the last entry: an archive that has it is complete
FIRST = ("models", "mlflow/location", "mlflow/mlflow.db", "prefect/prefect.db", "inferences.db", "dvc/cache/runs")
# The files of a PostgreSQL server that runs are no backup of it.
POSTGRESQL = "team/postgresql"
LEFT_OUT = {"coverage", "dvc/config", "dvc/site", "keras", "logs", "matplotlib", "prefect/ui", "site", POSTGRESQL}
COMPANIONS = ("-wal", "-shm", "-journal")  # of SQLite's files: their content is in the copy of the database
STORES = ("MLFLOW_TRACKING_URI", INFERENCE_LOG, "PREFECT_HOME")
SERVERS = ("PREFECT_API_URL",)
SQLITE = b"SQLite format 3\0"
BUSY_SECONDS = 60.0
IN_MEMORY_BYTES = 1 << 24  # of a file, before it is copied to the disk
COMPRESSION = 1  # most files are compressed already


@dataclass(frozen=True)
class Backup:
    """What an archive holds.

    Attributes:
        files: number of files.
        bytes: of these, before compression.
    """

    files: int
    bytes: int


def write(paths: Paths, target: Path) -> Backup:
    """Write `var/` and dvc.lock of a checkout to an archive, which appears when it is complete.

    Raises:
        ConfigError: the archive would be part of itself.
        DataError: a file cannot be read, or the archive cannot be written.
    """
    target = target.resolve()
    if target.is_relative_to(paths.var.resolve()):
        raise ConfigError(f"{target} is in var/, which is copied", "Name a file elsewhere.")
    try:
        with (
            _unfinished(target) as stream,
            tarfile.open(fileobj=stream, mode="w:gz", compresslevel=COMPRESSION) as archive,
        ):
            written = _write(paths, archive)
    except (OSError, sqlite3.Error) as error:
        raise DataError(
            f"{target} cannot be written: {getattr(error, 'strerror', None) or error}",
            "Free disk space, or grant this user permission to read var/ and to write there.",
        ) from error
    return written


def _write(paths: Paths, archive: tarfile.TarFile) -> Backup:
    count = size = 0
    for path in _wanted(paths):
        with suppress(FileNotFoundError), _opened(path) as content:  # removed meanwhile
            size += _add(archive, str(path.relative_to(paths.checkout)), content, path.stat())
            count += 1
    summary = {
        "format": FORMAT,
        "mnistflow": mnistflow.__version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "checkout": str(paths.checkout),
        "files": count,
        "bytes": size,
    }
    with tempfile.TemporaryFile() as content:
        content.write(json.dumps(summary, indent=2).encode())
        _add(archive, SUMMARY, content, os.fstat(content.fileno()))
    return Backup(count, size)


def _add(archive: tarfile.TarFile, name: str, content: IO[bytes], status: os.stat_result) -> int:
    """Add a file from its beginning to the current end, with the mode and time of `status`, and return its size."""
    entry = tarfile.TarInfo(name)
    entry.size = content.seek(0, os.SEEK_END)
    entry.mode, entry.mtime = stat.S_IMODE(status.st_mode), status.st_mtime
    content.seek(0)
    archive.addfile(entry, content)
    return entry.size


def _wanted(paths: Paths) -> Iterator[Path]:
    """Yield the files to copy, in their order."""
    seen = set()
    if (paths.checkout / LOCK).is_file():
        yield paths.checkout / LOCK
    for name in (*FIRST, ""):
        start = paths.var / name
        with ExitStack() as locks:
            if name == "models":
                for folder in start.glob("[!.]*/"):
                    locks.enter_context(publisher.locked(paths, folder.name))
            for path in _walk(paths, start) if start.is_dir() else (start,):
                if path not in seen and path.is_file():
                    seen.add(path)
                    yield path


def _walk(paths: Paths, start: Path) -> Iterator[Path]:
    for folder, folders, names in os.walk(start, followlinks=True):
        inside = Path(folder)
        if OWNER in names and inside.parent == paths.runs:
            folders.clear()  # a run is under way there
            continue
        folders[:] = sorted(name for name in folders if _is_wanted(paths, inside / name))
        yield from (inside / name for name in sorted(names) if not (_is_unfinished(name) or name.endswith(COMPANIONS)))


def _is_wanted(paths: Paths, folder: Path) -> bool:
    is_environment = (folder / "pyvenv.cfg").is_file() or (folder / "CACHEDIR.TAG").is_file()
    is_left_out = str(folder.relative_to(paths.var)) in LEFT_OUT
    return not (is_environment or is_left_out or _is_unfinished(folder.name) or _is_loop(folder))


def _is_loop(folder: Path) -> bool:
    """Return whether a folder is a link to one that contains it."""
    return folder.is_symlink() and folder.resolve() in map(Path.resolve, folder.parents)


def _is_unfinished(name: str) -> bool:
    """Return whether a name is one of `files.atomic_write`."""
    return name.startswith(".") and name.endswith((".tmp", ".old"))


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    """Open a copy of a file, which others may be writing: of a database, at one moment."""
    with path.open("rb") as source:
        is_database = source.read(len(SQLITE)) == SQLITE
        if not is_database:
            source.seek(0)
            with tempfile.SpooledTemporaryFile(IN_MEMORY_BYTES) as copy:
                while part := source.read(1 << 20):
                    copy.write(part)
                yield copy
            return
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / path.name
        uri = f"{path.absolute().as_uri()}?mode=ro"
        with (
            closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS)) as live,
            closing(sqlite3.connect(copied)) as target,
        ):
            live.backup(target)
        with copied.open("rb") as content:
            yield content


@contextmanager
def _unfinished(target: Path) -> Iterator[IO[bytes]]:
    """Yield a file that gets its name when the block succeeds: without a name, a kill leaves nothing behind."""
    try:
        unnamed = os.open(target.parent, os.O_TMPFILE | os.O_RDWR, 0o600)
    except (AttributeError, OSError):  # another system, or a file system that has no such files
        with files.atomic_write(target) as temporary, temporary.open("wb") as stream:
            yield stream
        return
    with os.fdopen(unnamed, "wb") as stream:
        yield stream
        stream.flush()
        os.fsync(unnamed)
        with files.atomic_write(target) as temporary:
            # Without a descriptor of a folder, which an absolute path does not need, Python links the symbolic link.
            os.link(f"/proc/self/fd/{unnamed}", temporary, src_dir_fd=unnamed, follow_symlinks=True)


def external_stores(paths: Paths) -> list[str]:
    """Return the environment variables by which stores are in use that are not in `var/`, and thus in no backup."""
    # The value is a path, or a URL that contains one, such as `sqlite:////home/ada/mnistflow/var/mlflow/mlflow.db`.
    found = [name for name in STORES if name in os.environ and str(paths.var) not in os.environ[name]]
    return [*found, *(name for name in SERVERS if name in os.environ)]


def has_postgresql(paths: Paths) -> bool:
    """Return whether `var/` has the PostgreSQL server of `mnistflow team-up`, whose data is in no backup."""
    return (paths.var / POSTGRESQL).is_dir()


def broken_links(paths: Paths) -> list[str]:
    """Return the links in `var/` whose target is missing, such as a folder on a disk that is not mounted."""
    broken = (path for path in _walk(paths, paths.var) if path.is_symlink() and not path.exists())
    return [str(path.relative_to(paths.checkout)) for path in broken]


def summary_of(entry: Any) -> Backup:
    """Return what the summary of an archive says.

    Raises:
        DataError: it is that of another release, or not a summary.
    """
    try:
        if entry["format"] == FORMAT:
            return Backup(int(entry["files"]), int(entry["bytes"]))
    except (KeyError, TypeError, ValueError):
        pass
    raise DataError("its last entry is not a summary that this release of mnistflow knows")
