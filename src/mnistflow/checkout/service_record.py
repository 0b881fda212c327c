"""Service record: addresses of the servers that were started from a checkout, for its other commands."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from mnistflow.errors import DataError
from mnistflow.files import read_json, write_json
from mnistflow.process_identity import ProcessIdentity


@dataclass(frozen=True)
class _Started:
    """A server that was started.

    Attributes:
        home: the folder of its record then; a copy of that folder has the record, but not the server.
        process: the server's own, or that of the command that runs it.
    """

    url: str
    home: str
    process: ProcessIdentity


def add(path: Path, url: str) -> None:
    """Record the server that this process starts, or becomes.

    Args:
        path: file of the record, one for each kind of server.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    started = _Started(url, str(path.parent.resolve()), ProcessIdentity.own())
    with FileLock(path.with_suffix(".lock")):
        others = [one for one in _read(path) if not _is_obsolete(one, url)]
        write_json(path, [asdict(one) for one in (started, *others)])


def running(path: Path) -> tuple[str, ...]:
    """Return the URLs of the recorded servers whose process runs, the newest first."""
    return tuple(dict.fromkeys(one.url for one in _read(path) if not one.process.has_died()))


def _is_obsolete(recorded: _Started, url: str) -> bool:
    """Return whether a record has no use beside a new one of `url`.

    A server of this machine that has the same URL and runs is kept: the new one will find its port taken, and end.
    """
    return recorded.url == url if recorded.process.is_elsewhere else recorded.process.has_died()


def _read(path: Path) -> list[_Started]:
    try:
        recorded = [
            _Started(str(entry["url"]), str(entry["home"]), ProcessIdentity.from_json(entry["process"]))
            for entry in read_json(path)
        ]
    except (DataError, KeyError, TypeError, ValueError):
        return []
    return [one for one in recorded if one.home == str(path.parent.resolve())]
