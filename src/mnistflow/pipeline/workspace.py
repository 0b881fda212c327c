"""Workspace of one run: a folder with a copy of the sources, its own params.yaml and its own dvc.lock.

Runs with different parameters do not disturb each other. All workspaces share DVC's cache, so a stage that ever ran
with the same inputs, sources and parameters is not run again: its outputs come from the cache.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from configparser import ConfigParser
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock

from mnistflow import config, files
from mnistflow.errors import ConfigError, DataError
from mnistflow.paths import Paths
from mnistflow.process_identity import ProcessIdentity

SOURCES = ("dvc.yaml", ".dvcignore", "src", "flows")
OWNER = "process.json"  # the process that uses a workspace, until the workspace is tidied


@contextmanager
def opened(checkout: Paths, overrides: Mapping[str, Any]) -> Iterator[Paths]:
    """Make a workspace for the block and tidy it afterwards, also those that killed processes have left behind.

    Raises:
        ConfigError: params.yaml or an override is not valid; no workspace is made then.
    """
    tidy_abandoned(checkout)
    with _tidied(create(checkout, overrides)) as workspace:
        yield workspace


@contextmanager
def of_record(checkout: Paths) -> Iterator[Paths]:
    """Make a workspace for the block, which fills it with the sources of a recorded run; tidy it afterwards."""
    tidy_abandoned(checkout)
    with _tidied(_make(checkout, lambda _: None)) as workspace:
        yield workspace


@contextmanager
def _tidied(workspace: Paths) -> Iterator[Paths]:
    try:
        yield workspace
    finally:
        tidy(workspace)


def create(checkout: Paths, overrides: Mapping[str, Any]) -> Paths:
    """Make a workspace under the checkout's `var/runs` with `overrides` in its params.yaml. This process owns it.

    Raises:
        ConfigError: params.yaml or an override is not valid; no workspace is made then.
    """

    def fill(folder: Path) -> None:
        config.write_with_overrides(checkout.params, folder / "params.yaml", overrides)
        copy_sources(checkout, folder)

    return _make(checkout, fill)


def _make(checkout: Paths, fill: Callable[[Path], None]) -> Paths:
    name = f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"
    with no_new_workspaces(checkout), files.atomic_folder(checkout.runs / name) as folder:
        files.write_json(folder / OWNER, asdict(ProcessIdentity.own()))
        fill(folder)
        _write_dvc_config(checkout, folder / ".dvc")
    return Paths(checkout.runs / name, checkout.checkout)


@contextmanager
def no_new_workspaces(checkout: Paths) -> Iterator[None]:
    """Let no new workspace be made in the block, so that what no workspace needs can be removed from DVC's cache."""
    checkout.runs.mkdir(parents=True, exist_ok=True)
    with FileLock(checkout.runs / ".lock"):
        yield


def copy_sources(checkout: Paths, folder: Path) -> None:
    """Copy the sources of a checkout into a folder.

    Raises:
        ConfigError: some are missing.
    """
    for source in SOURCES:
        _copy(checkout.checkout / source, folder / source)


def _copy(source: Path, target: Path) -> None:
    if not source.exists():
        raise ConfigError(f"{source} is missing", "Restore it with git.")
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    else:
        shutil.copyfile(source, target)


def _write_dvc_config(checkout: Paths, folder: Path) -> None:
    """Copy the checkout's remotes with their credentials; relative folders are resolved against the checkout."""
    dvc = ConfigParser(interpolation=None)
    dvc.read([checkout.checkout / ".dvc/config", checkout.checkout / ".dvc/config.local"], encoding="utf-8")
    for section in dvc.values():
        for key, value in section.items():
            if value.startswith("../"):
                section[key] = str((checkout.checkout / ".dvc" / value).resolve())
    dvc["core"]["no_scm"] = "true"
    folder.mkdir()
    with (folder / "config").open("w", encoding="utf-8") as stream:
        dvc.write(stream)


def logs(workspace: Paths) -> Path:
    """Return the folder of a workspace's stage logs."""
    return workspace.root / "logs"


def move_outputs_to_checkout(workspace: Paths, pinned: Collection[str] = ()) -> None:
    """Move the outputs of a finished run to the checkout, and write its dvc.lock there, as `dvc repro` would.

    Args:
        pinned: parameters, by dotted key, that the run has fixed where params.yaml leaves them open. The lock states
            them as params.yaml does, because DVC compares the two.
    """
    checkout = Paths(workspace.checkout, workspace.checkout)
    for source, target in (
        (workspace.raw, checkout.raw),
        (workspace.prepared, checkout.prepared),
        (workspace.reports, checkout.reports),
        (workspace.tuned, checkout.tuned),
        (workspace.trained, checkout.trained),
        (workspace.exported, checkout.exported),
        (workspace.evaluated, checkout.evaluated),
    ):
        if source.is_dir():
            with files.atomic_write(target) as temporary:
                source.rename(temporary)
    _write_lock(workspace, checkout, pinned)  # last: until then, DVC reports the outputs as changed


def _write_lock(workspace: Paths, checkout: Paths, pinned: Collection[str]) -> None:
    with files.atomic_write(checkout.root / "dvc.lock") as temporary:
        shutil.copyfile(workspace.root / "dvc.lock", temporary)
        if pinned:
            _unpin(temporary, {key: config.load(checkout.params).entries()[key] for key in pinned})


def _unpin(lock: Path, values: Mapping[str, Any]) -> None:
    from dvc.utils.serialize import modify_yaml

    with modify_yaml(lock) as content:
        for stage in content["stages"].values():
            for locked in stage.get("params", {}).values():
                for key, value in values.items():
                    _replace(locked, key, value)


def _replace(locked: dict[str, Any], key: str, value: object) -> None:
    """Replace a parameter of a lock, which names it by its dotted key or as part of its section."""
    if key in locked:
        locked[key] = value
    section, _, rest = key.partition(".")
    if rest and isinstance(locked.get(section), dict):
        _replace(locked[section], rest, value)


def tidy(workspace: Paths) -> None:
    """Remove all of a workspace but its parameters, dvc.lock and logs; the outputs are in DVC's cache."""
    for name in ("var", "src", "flows", ".dvc", OWNER):
        files.remove(workspace.root / name)


def tidy_abandoned(checkout: Paths) -> None:
    """Tidy the workspaces whose process was killed, and remove those that it had not finished making."""
    for folder in abandoned(checkout):
        clear(checkout, folder)


def clear(checkout: Paths, folder: Path) -> None:
    """Tidy the folder of a workspace that no process uses any more; remove it if it was never finished."""
    if folder.name.startswith("."):
        files.remove(folder)
    else:
        tidy(Paths(folder, checkout.checkout))


def abandoned(checkout: Paths) -> list[Path]:
    """Return the workspaces whose process was killed."""
    return [note.parent for note in sorted(checkout.runs.glob(f"*/{OWNER}")) if _has_died(note)]


def idle_on_other_machines(checkout: Paths, since: datetime) -> list[Path]:
    """Return the workspaces of other machines to which nothing was written since a time: their owners may have died."""
    notes = sorted(checkout.runs.glob(f"*/{OWNER}"))
    folders = [note.parent for note in notes if (owner := _owner(note)) and owner.is_elsewhere]
    return [folder for folder in folders if _last_written(folder) < since.timestamp()]


def _last_written(folder: Path) -> float:
    return max((path.stat().st_mtime for path in (folder, *folder.rglob("*")) if path.exists()), default=0.0)


def is_used(folder: Path) -> bool:
    """Return whether a process of this or another machine works in the folder of a workspace."""
    note = folder / OWNER
    return note.is_file() and not _has_died(note)


def _has_died(note: Path) -> bool:
    owner = _owner(note)
    return owner is not None and owner.has_died()


def _owner(note: Path) -> ProcessIdentity | None:
    try:
        return ProcessIdentity.from_json(files.read_json(note))
    except (DataError, KeyError, ValueError):  # removed meanwhile
        return None
