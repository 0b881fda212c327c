"""Garbage of MLflow: decides which runs and versions are kept, and removes the others with their artifacts.

A tree stays when anything references one of its runs or versions: an alias, the history of champions, a rollout, the
gate's alpha spending, a version that someone else registered, a tag, a running process, or another tree that has
learned from it. While versions are removed, this process alone decides about their models.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from mnistflow import files
from mnistflow.errors import DataError, RegistryError
from mnistflow.paths import Paths
from mnistflow.registry import versions
from mnistflow.registry.gate import alpha_spending
from mnistflow.registry.repository import publisher, reconciliation
from mnistflow.registry.rollouts import Rollout
from mnistflow.retention import RetentionConfig
from mnistflow.tracking import runs
from mnistflow.tracking.client import mlflow_client
from mnistflow.tracking.records import StoredModel, StoredVersion
from mnistflow.upkeep.gc import run_trees
from mnistflow.upkeep.gc.garbage import Garbage, cutoff, younger_than
from mnistflow.upkeep.gc.run_trees import RunTree

if TYPE_CHECKING:
    from mlflow.entities import Run
    from mlflow.store.artifact.artifact_repo import ArtifactRepository

LOCK_FILE = "dvc.lock"  # artifact of the runs of whole pipelines
LEARNED_FROM = "that a kept model has learned from"


@dataclass(frozen=True)
class MlflowGarbage:
    """Unreferenced runs and versions, and the dvc.lock files of runs that stay.

    Attributes:
        runs: garbage of runs.
        versions: garbage of versions.
        locks: contents of the dvc.lock of each run that stays.
    """

    runs: Garbage
    versions: Garbage
    locks: tuple[str, ...]


def collect(paths: Paths, retention: RetentionConfig, now: datetime, *, delete: bool) -> MlflowGarbage:
    """Find old runs and versions that nothing references, and remove them if asked to.

    Raises:
        RegistryError: an artifact store cannot be read or written, or others decide about a model all the time.
    """
    with ExitStack() as leases:
        if delete:
            unprotected, _ = run_trees.read()
            for name in _with_versions(unprotected):
                leases.enter_context(reconciliation.acquire_lease(name))
        # Read again under the leases: another process may have promoted or registered since.
        found, models = run_trees.read()
        reasons = _reasons(paths, retention, now, found, models)
        garbage = [tree for tree, reason in zip(found, reasons, strict=True) if not reason]
        kept = [(tree, reason) for tree, reason in zip(found, reasons, strict=True) if reason]
        sizes = {run.info.run_id: sum(map(_size, _repositories(run))) for tree in garbage for run in tree.runs}
        if delete:
            for tree in garbage:
                _remove(paths, tree)
    return MlflowGarbage(
        runs=Garbage.of("MLflow runs", sizes, (reason for tree, reason in kept for _ in tree.runs)),
        # Their files are artifacts of the runs.
        versions=Garbage.of(
            "versions",
            {f"{one.name}/{one.number}": 0 for tree in garbage for one in tree.versions},
            (reason for tree, reason in kept for _ in tree.versions),
        ),
        locks=tuple(text for tree, _ in kept for run in tree.runs if (text := _lock(run)) is not None),
    )


def _with_versions(found: Iterable[RunTree]) -> list[str]:
    return sorted({version.name for tree in found for version in tree.versions})


def _reasons(
    paths: Paths,
    retention: RetentionConfig,
    now: datetime,
    found: Sequence[RunTree],
    models: Mapping[str, StoredModel],
) -> list[str]:
    """Return why each tree stays; empty if it does not."""
    referenced, newest = set(_referenced_runs(paths)), set(_newest_runs(found))
    reasons = [
        _reason_to_keep(paths, tree, models, now)
        or _reference_reason(tree, referenced, newest)
        or _age_reason(tree, retention, now)
        or ""
        for tree in found
    ]
    while True:
        needed = {one for tree, why in zip(found, reasons, strict=True) if why for one in tree.references()}
        missed = [
            place
            for place, tree in enumerate(found)
            if not reasons[place] and needed & {*tree.run_ids, *(one.number for one in tree.versions)}
        ]
        if not missed:
            return reasons
        for place in missed:
            reasons[place] = LEARNED_FROM


def _reason_to_keep(paths: Paths, tree: RunTree, models: Mapping[str, StoredModel], now: datetime) -> str | None:
    for version in tree.versions:
        if reason := _reason_to_keep_version(paths, version, models[version.name], now):
            return reason
    if tree.foreign:
        return f"registered as {tree.foreign[0].name}"
    if any(run.data.tags.get(runs.KEEP) for run in tree.runs):
        return f"with tag {runs.KEEP}"
    if any(run.info.status in ("RUNNING", "SCHEDULED") for run in tree.runs if _is_active(run)):
        return "still running"
    return None


def _reference_reason(tree: RunTree, referenced: Set[str], newest: Set[str]) -> str | None:
    if tree.run_ids & referenced:
        return "named by a file in var/"
    return "of the last run of an experiment" if tree.run_ids & newest else None


def _reason_to_keep_version(paths: Paths, version: StoredVersion, model: StoredModel, now: datetime) -> str | None:
    if named := sorted(alias for alias, number in model.aliases.items() if number == version.number):
        return f"held by alias {named[0]}"
    rollout = Rollout.of(model)
    if version.number in (publisher.published_champion(paths, version.name), rollout.challenger if rollout else None):
        return "served"
    if version.tags.get(versions.TAG + "history"):
        return "once champion"
    if version.tags.get(runs.KEEP):
        return f"with tag {runs.KEEP}"
    spent = alpha_spending.comparisons_of(version)
    return "compared by the gate within a year" if any(now - one.time < alpha_spending.YEAR for one in spent) else None


def _age_reason(tree: RunTree, retention: RetentionConfig, now: datetime) -> str | None:
    days = retention.versions if tree.versions else retention.runs
    return younger_than(days) if tree.ended > cutoff(now, days) else None


def _referenced_runs(paths: Paths) -> Iterator[str]:
    """Yield the runs that files in `var/` name: those of DVC's pipelines, and those that were found unchanged."""
    for path in (paths.unfinished_run, *paths.var.glob("unchanged/*.json"), *paths.var.glob("monitor/*/state.json")):
        try:
            yield str(files.read_json(path)["run_id"])
        except (DataError, KeyError, TypeError):
            continue


def _newest_runs(found: Iterable[RunTree]) -> Iterator[str]:
    newest: dict[str, Run] = {}
    for run in (run for tree in found for run in tree.runs if _is_active(run)):
        if runs.PARENT_RUN not in run.data.tags:
            known = newest.setdefault(run.info.experiment_id, run)
            newest[run.info.experiment_id] = max(known, run, key=lambda one: one.info.start_time)
    return (run.info.run_id for run in newest.values())


def _is_active(run: Run) -> bool:
    return str(run.info.lifecycle_stage) == "active"


def _remove(paths: Paths, tree: RunTree) -> None:
    """Remove a tree. What a kill leaves is in MLflow's trash, as old as before, and is removed by the next call."""
    client = mlflow_client()
    for version in tree.versions:
        with publisher.locked(paths, version.name):
            publisher.remove_version(paths, version.name, version.number)
        client.delete_model_version(version.name, str(version.number))
    for run in reversed(tree.runs):
        if _is_active(run):
            client.delete_run(run.info.run_id)
        for repository in _repositories(run):
            repository.delete_artifacts()
            _remove_empty_folder(repository.artifact_uri)
        _forget(run)


def _remove_empty_folder(location: str) -> None:
    """Remove the folder around the artifacts of a run, if it is a local one."""
    if location.startswith("file:"):
        with suppress(OSError):
            Path(unquote(urlsplit(location).path)).parent.rmdir()


def _forget(run: Run) -> None:
    """Remove the rows of a run from MLflow's database. Those of a tracking server stay in its trash for `mlflow gc`."""
    from mlflow.tracking._tracking_service.utils import _get_store

    store = _get_store()
    if hasattr(store, "_hard_delete_run"):
        for model in _logged_models(run):
            store._hard_delete_logged_model(model.model_id)
        store._hard_delete_run(run.info.run_id)


def _repositories(run: Run) -> Iterator[ArtifactRepository]:
    """Yield where the artifacts of a run are, and those of the models that it logged."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    for location in (run.info.artifact_uri, *(model.artifact_location for model in _logged_models(run))):
        yield get_artifact_repository(location)


def _logged_models(run: Run) -> list[Any]:
    return list(mlflow_client().search_logged_models([run.info.experiment_id], f"source_run_id = '{run.info.run_id}'"))


def _size(repository: ArtifactRepository, folder: str | None = None) -> int:
    found = repository.list_artifacts(folder)
    return sum(_size(repository, one.path) if one.is_dir else one.file_size or 0 for one in found)


def _lock(run: Run) -> str | None:
    """Return the dvc.lock that a run has stored; None if it has none, as trials.

    Raises:
        RegistryError: the artifact store cannot be read.
    """
    from mlflow.artifacts import load_text
    from mlflow.exceptions import MlflowException
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    try:
        repository = get_artifact_repository(run.info.artifact_uri)
        if not any(found.path == LOCK_FILE for found in repository.list_artifacts()):
            return None
        return str(load_text(f"{run.info.artifact_uri}/{LOCK_FILE}"))
    except (MlflowException, OSError) as error:
        raise RegistryError(
            f"the artifacts of run {run.info.run_id} cannot be read: {error}", "Restore the artifact store."
        ) from error
