"""Garbage of DVC's cache: files that no kept dvc.lock names, and entries of the run cache that lead to them.

A dvc.lock is kept by the checkout, by its branches and tags in git, DVC's experiments included, by a workspace, and by
a run in MLflow. The run cache keeps what any stage has made lately. A remote in `var/` is a second cache; one elsewhere
may be shared, and is left alone. While a retraining or a sweep is under way, nothing is removed, and none begins while
something is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, chdir, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from mnistflow import files, yaml_files
from mnistflow.checkout import git
from mnistflow.errors import StageError
from mnistflow.paths import Paths
from mnistflow.pipeline import workspace
from mnistflow.retention import RetentionConfig
from mnistflow.upkeep.gc.garbage import Garbage, cutoff, size, younger_than

if TYPE_CHECKING:
    from dvc.repo import Repo

KIND = "files of DVC's cache"
NAMED = "named by a kept dvc.lock or run cache entry"
REFERENCE_WITHOUT_FILES = 128  # exit code of git, such as for a tag of an object that is not a commit
BUSY = "while a retraining or sweep is running"


def collect(
    paths: Paths,
    retention: RetentionConfig,
    now: datetime,
    run_locks: Iterable[str],
    old_workspaces: Collection[str],
    *,
    delete: bool,
) -> Garbage:
    """Find old files that nothing references, and remove them if asked to.

    Args:
        paths: of the checkout.
        retention: section `gc` of params.yaml.
        now: time that ages are measured at.
        run_locks: contents of the dvc.lock of each kept run.
        old_workspaces: names of workspaces that are garbage themselves.
        delete: whether to remove them.

    Raises:
        StageError: DVC uses the checkout at the same time, or its configuration is not valid.
        GitError: the files that branches and tags name are unknown, because git is not installed or fails.
    """
    with _opened_repository(paths, exclusively=delete) as repository:
        stores = _stores(repository, paths)
        if any(workspace.is_used(folder) for folder in paths.runs.glob("*")):
            return Garbage.of(KIND, {}, (BUSY for store in stores for _ in _objects(store)))
        before = cutoff(now, retention.cache)
        entries = sorted(Path(repository.stage_cache.cache_dir).glob("*/*/*"))
        lately = (entry for entry in entries if _written(entry) > before)
        used = _used_hashes(stores, [*_locks(paths, old_workspaces), *run_locks, *map(_text, lately)])
        sizes, kept = {}, []
        for path in (path for store in stores for path in _objects(store)):
            if reason := _reason_to_keep(path, used, before, retention.cache):
                kept.append(reason)
            else:
                sizes[str(path.relative_to(paths.checkout))] = size(path)
        if delete:
            _remove(paths, sizes, entries, used)
        return Garbage.of(KIND, sizes, kept)


@contextmanager
def _opened_repository(paths: Paths, *, exclusively: bool) -> Iterator[Repo]:
    """Open DVC's repository, from within the checkout; exclusively, without any new workspace meanwhile.

    Raises:
        StageError: DVC uses the checkout at the same time, or its configuration is not valid.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    with ExitStack() as stack:
        try:
            stack.enter_context(chdir(paths.checkout))
            repository = stack.enter_context(Repo(str(paths.checkout)))
            if exclusively:
                stack.enter_context(repository.lock)
                stack.enter_context(workspace.no_new_workspaces(paths))
        except DvcException as error:
            raise StageError(f"DVC's cache cannot be cleared: {error}", "Try again when DVC has ended.") from error
        yield repository


def _used_hashes(stores: Iterable[Path], texts: Iterable[str]) -> set[str]:
    """Return the hashes that these dvc.lock files and run cache entries name, and those of files in named folders."""
    return _expanded(stores, {hash_ for text in texts for hash_ in _hashes(text)})


def _reason_to_keep(path: Path, used: set[str], before: datetime, days: int) -> str | None:
    if path.parent.name + path.name in used:
        return NAMED
    return younger_than(days) if _written(path) > before else None


def _stores(repository: Repo, paths: Paths) -> list[Path]:
    """Return the folders with files named by their hashes: the cache, and a remote in `var/`."""
    from dvc.exceptions import DvcException

    stores = [Path(repository.cache.local.path)]
    with suppress(DvcException):  # there is no remote
        remote = repository.cloud.get_remote_odb()
        if remote.fs.protocol == "local" and Path(remote.path).is_relative_to(paths.var):
            stores.append(Path(remote.path))
    return [store for store in stores if store.is_dir()]


def _objects(store: Path) -> Iterator[Path]:
    return (path for path in sorted(store.glob("[0-9a-f][0-9a-f]/*")) if path.is_file())


def _text(entry: Path) -> str:
    return entry.read_text(encoding="utf-8", errors="replace")


def _written(path: Path) -> datetime:
    return datetime.fromtimestamp(path.stat().st_mtime, UTC)


def _locks(paths: Paths, old_workspaces: Collection[str]) -> Iterator[str]:
    """Yield the contents of each dvc.lock in the checkout, its workspaces, and the branches and tags of git."""
    workspaces = (path for path in paths.runs.glob("*/dvc.lock") if path.parent.name not in old_workspaces)
    for path in (paths.checkout / "dvc.lock", *workspaces):
        with suppress(FileNotFoundError):
            yield path.read_text(encoding="utf-8")
    if any((folder / ".git").exists() for folder in (paths.checkout, *paths.checkout.parents)):
        for reference in ("HEAD", *git.run(paths.checkout, "for-each-ref", "--format=%(refname)").split()):
            if (lock := _lock_at(paths, reference)) is not None:
                yield lock


def _lock_at(paths: Paths, reference: str) -> str | None:
    """Return the dvc.lock of a branch or tag; None if it has none."""
    if not git.run(paths.checkout, "ls-tree", "--name-only", reference, "dvc.lock", ok=(0, REFERENCE_WITHOUT_FILES)):
        return None
    return git.run(paths.checkout, "show", f"{reference}:./dvc.lock")


def _hashes(text: str) -> Iterator[str]:
    """Yield the hashes of the outputs in a dvc.lock, or in an entry of the run cache.

    Raises:
        StageError: the text is neither, so the files in use are unknown.
    """
    try:
        tree: Any = yaml_files.parse(text) or {}
        for stage in tree.get("stages", {"": tree}).values():
            for out in stage.get("outs", ()):
                if "md5" in out:
                    yield str(out["md5"])
    except (yaml.YAMLError, AttributeError, TypeError) as error:
        raise StageError(
            f"a dvc.lock or an entry of DVC's run cache is damaged: {text[:60]!r}", "Restore or remove it."
        ) from error


def _expanded(stores: Iterable[Path], hashes: set[str]) -> set[str]:
    """Return hashes with those of the files in each folder among them."""
    found = set(hashes)
    for hash_ in hashes:
        for path in (store / hash_[:2] / hash_[2:] for store in stores):
            if hash_.endswith(".dir") and path.is_file():
                found |= {str(entry["md5"]) for entry in files.read_json(path)}
    return found


def _remove(paths: Paths, names: Iterable[str], entries: Iterable[Path], used: set[str]) -> None:
    """Remove entries of the run cache first: an entry whose files are gone in part would be tried in vain."""
    for entry in entries:
        if not used.issuperset(_hashes(_text(entry))):
            files.remove(entry)
    for name in sorted(names, key=lambda name: name.endswith(".dir"), reverse=True):
        files.remove(paths.checkout / name)
