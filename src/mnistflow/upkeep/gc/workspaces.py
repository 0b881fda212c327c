"""Garbage of workspaces in `var/runs`, and of checkpoints in `var/resume`."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from mnistflow import files
from mnistflow.paths import Paths
from mnistflow.pipeline import workspace
from mnistflow.retention import RetentionConfig
from mnistflow.upkeep.gc.garbage import Garbage, cutoff, last_use, size, younger_than

IN_USE = "in use by a running process"


def collect_workspaces(paths: Paths, retention: RetentionConfig, now: datetime, *, delete: bool) -> Garbage:
    """Find the workspaces that no process uses and that are old, and remove them if asked to."""
    before = cutoff(now, retention.workspaces)
    sizes, kept = {}, []
    for folder in _folders(paths.runs):
        if workspace.is_used(folder):
            kept.append(IN_USE)
        elif last_use(folder) > before:
            kept.append(younger_than(retention.workspaces))
        else:
            sizes[folder.name] = size(folder)
            if delete:
                files.remove(folder)
    return Garbage.of("workspaces", sizes, kept)


def collect_checkpoints(paths: Paths, retention: RetentionConfig, now: datetime, *, delete: bool) -> Garbage:
    """Find checkpoints of searches and trainings that were not resumed for `gc.resume` days; remove them if asked to.

    The lock of each is held meanwhile: a search or training that is under way has it, and one that begins waits. A lock
    that is left without a checkpoint is garbage at once.
    """
    before = cutoff(now, retention.resume)
    sizes, kept = {}, []
    for name in sorted({path.name.removesuffix(".lock") for path in _entries(paths.resume)}):
        folder, lock = paths.resume / name, paths.resume / f"{name}.lock"
        with files.claim(lock) as acquired:
            if not acquired:
                kept.append(IN_USE)
            elif folder.is_dir() and last_use(folder) > before:
                kept.append(younger_than(retention.resume))
            else:
                sizes[name] = size(folder)
                if delete:
                    files.remove(folder)
                    files.remove(lock)
    return Garbage.of("checkpoints and their locks", sizes, kept)


def _folders(parent: Path) -> Iterator[Path]:
    return (path for path in _entries(parent) if path.is_dir())


def _entries(parent: Path) -> list[Path]:
    return sorted(parent.iterdir()) if parent.is_dir() else []
