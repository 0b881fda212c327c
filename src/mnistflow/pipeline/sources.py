"""Sources of a run as an archive: from its workspace, and from a git commit."""

from __future__ import annotations

import io
import subprocess
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mnistflow import archives
from mnistflow.checkout import stage_outputs
from mnistflow.pipeline.workspace import SOURCES

ARCHIVE = "sources.tar.gz"


def pack(root: Path, folder: Path) -> Path:
    """Write the sources below `root` to an archive in a folder, and return its path."""
    target = folder / ARCHIVE
    with tarfile.open(target, "w:gz") as archive:
        for name in filter(lambda source: (root / source).exists(), SOURCES):
            archive.add(root / name, name, filter=_without_caches)
    return target


def _without_caches(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if "__pycache__" in entry.name or entry.name.endswith((".pyc", ".egg-info")) else entry


def unpack(archive: bytes, folder: Path) -> None:
    """Write the content of an archive into a folder.

    Raises:
        tarfile.TarError: the archive is damaged, or leads out of the folder.
    """
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        for entry in opened:
            archives.extract(opened, entry, folder)


def archive_of_commit(checkout: Path, commit: str) -> bytes | None:
    """Return an archive of the sources of a git commit; None without git, or without such a commit."""
    command = ["git", "-C", str(checkout), "archive", commit, "--", *SOURCES]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def first_difference(root: Path, stages: Mapping[str, Any]) -> str | None:
    """Return the first file or folder of sources that is not what a dvc.lock describes, or None.

    Args:
        root: folder that holds `src`.
        stages: those of the dvc.lock, by name.
    """
    return next((path for path, md5 in _locked(stages) if stage_outputs.md5(root / path) != md5), None)


def _locked(stages: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for stage in stages.values():
        for entry in stage["deps"]:
            if entry["path"].startswith("src/"):
                yield entry["path"], entry["md5"]
