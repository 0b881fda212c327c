"""Relocation of `var/`: artifact locations in MLflow's store, corrected after the folder was copied or moved.

MLflow stores absolute locations, so a copied store would write the artifacts of new runs into the original. The file
`var/mlflow/location` names the checkout that the store was last used in; every command compares it with its own. What
else in `var/` names a checkout is compared where it is read: the records of running servers, and Prefect's deployments.
DVC's remote is relative to its configuration, and DVC keeps the hashes of files by their absolute path.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from mnistflow.errors import DataError, RegistryError
from mnistflow.paths import Paths

if TYPE_CHECKING:
    from sqlite3 import Connection

logger = logging.getLogger(__name__)

# Columns of MLflow's tables that hold artifact locations; older revisions of its schema lack some.
COLUMNS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
    ("trace_tags", "value"),
)
ARTIFACTS = "var/mlflow/artifacts"
# Where a checkout keeps artifacts. The second is MLflow's own choice, for its experiment Default. Whole checkouts are
# not replaced: done twice, that would go wrong for a copy inside the original.
FOLDERS = ("var/mlflow", "mlruns")
BUSY_SECONDS = 30


def correct(paths: Paths) -> None:
    """Let MLflow's store in `var/` lead to this checkout, if it was last used in another one; logs one line then.

    The other checkout is neither read nor written. A correction that was killed is completed by the next call.

    Raises:
        RegistryError: the store leads to another checkout, and cannot be read or written.
    """
    if _noted(paths) == paths.checkout:
        return
    # Imported here, because every command calls this function, and few get this far.
    import sqlite3

    from filelock import FileLock

    store = _store(paths)
    try:
        if store.exists() and _origins(paths):
            with FileLock(store.with_name(f"{store.name}.lock")):
                _correct(paths)
    except (OSError, sqlite3.Error) as error:
        raise RegistryError(
            f"{store} cannot be corrected to point to {paths.checkout}, where var/ is now: {error}",
            "Grant this user write permission for var/ and all in it.",
        ) from error
    with suppress(DataError):  # this user may only read, and nothing had to be corrected
        _note(paths)


def _correct(paths: Paths) -> None:
    """Correct all locations in one transaction, unless another process has done so meanwhile."""
    with _connected(paths, "rw") as store:
        origins = _origins(paths)
        corrected = sum(
            _replace(store, table, column, former, present)
            for origin in origins
            for folder in FOLDERS
            for former, present in _spellings(origin / folder, paths.checkout / folder)
            for table, column in COLUMNS
            if _has(store, table, column)
        )
        store.commit()
    if corrected:
        former = " and ".join(map(str, origins))
        plural = "location" if corrected == 1 else "locations"
        logger.warning("var/ was moved from %s to %s: %d %s corrected", former, paths.checkout, corrected, plural)


def _origins(paths: Paths) -> list[Path]:
    """Return the other checkouts that the store leads to: the noted one, and those of its experiments."""
    origins = {_noted(paths)}
    with _connected(paths, "ro") as store:
        if _has(store, "experiments", "artifact_location"):
            known = "select artifact_location from experiments where artifact_location like ?"
            origins |= {_checkout(uri) for (uri,) in store.execute(known, (f"file:///%/{ARTIFACTS}",))}
    return sorted(origin for origin in origins if origin and origin != paths.checkout)


def _checkout(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path).removesuffix(f"/{ARTIFACTS}"))


def _spellings(former: Path, present: Path) -> Iterator[tuple[str, str]]:
    """Yield both ways in which MLflow writes a folder: as a URI, and as a path."""
    yield former.as_uri(), present.as_uri()
    yield str(former), str(present)


def _replace(store: Connection, table: str, column: str, former: str, present: str) -> int:
    """Replace a folder at the beginning of a column's values; return in how many rows."""
    return store.execute(
        f'update "{table}" set "{column}" = ? || substr("{column}", ?) '  # noqa: S608
        f'where "{column}" = ? or substr("{column}", 1, ?) = ?',
        (present, len(former) + 1, former, len(former) + 1, f"{former}/"),
    ).rowcount


def _has(store: Connection, table: str, column: str) -> bool:
    found = store.execute("select 1 from pragma_table_info(?) where name = ?", (table, column))
    return found.fetchone() is not None


def _connected(paths: Paths, mode: str) -> closing[Connection]:
    import sqlite3

    uri = f"{_store(paths).as_uri()}?mode={mode}"
    return closing(sqlite3.connect(uri, uri=True, timeout=BUSY_SECONDS, isolation_level="IMMEDIATE"))


def _store(paths: Paths) -> Path:
    return paths.mlflow / "mlflow.db"


def _noted(paths: Paths) -> Path | None:
    """Return the checkout that the store was last used in; None if that is not known."""
    try:
        checkout = Path(_location(paths).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):
        return None
    return checkout if checkout.is_absolute() else None


def _note(paths: Paths) -> None:
    from mnistflow import files

    with files.atomic_write(_location(paths)) as temporary:
        temporary.write_text(str(paths.checkout), encoding="utf-8")


def _location(paths: Paths) -> Path:
    return paths.mlflow / "location"
