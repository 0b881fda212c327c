"""Diagnosis of a checkout: what killed processes, full disks and other machines leave behind, found before it matters.

Each check reads only, and names what is wrong. The repairs are those that commands make anyway when they meet the same.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from mnistflow import files
from mnistflow.errors import DataError, MnistflowError, RegistryError
from mnistflow.monitoring import state as monitoring
from mnistflow.paths import Paths
from mnistflow.pipeline import workspace
from mnistflow.registry import aliases, registration, rollouts, versions
from mnistflow.registry.repository import publisher, reconciliation
from mnistflow.registry.rollouts import Rollout
from mnistflow.registry.versions import Version
from mnistflow.retention import RetentionConfig
from mnistflow.tracking import lease, runs
from mnistflow.tracking.client import mlflow_client
from mnistflow.tracking.records import StoredModel
from mnistflow.tracking.store import open_store
from mnistflow.upkeep import restoration
from mnistflow.upkeep.gc import logged_inferences
from mnistflow.upkeep.problems import Problem

REPAIR = "`mnistflow doctor --repair`"
SILENCE = timedelta(days=7)  # after which what belongs to another machine is named
LOG_BYTES = 100_000_000  # of a file in var/logs
FREE_BYTES = 2_000_000_000  # below which the disk is named
TAIL_BYTES = 1_000_000  # that a repair leaves of it


def diagnose(paths: Paths, name: str, retention: RetentionConfig, log: str) -> Iterator[Problem]:
    """Yield what is wrong in a checkout.

    Args:
        paths: of the checkout.
        name: of the registered model that it serves.
        retention: section `gc` of params.yaml.
        log: path or URL of the inference log.

    Raises:
        MnistflowError: a store cannot be read.
    """
    yield from _dead_runs()
    yield from _orphaned_workspaces(paths)
    if model := open_store().model(name):
        yield from _dead_leases(name, model)
        yield from _foreign_versions(name)
        aliased = versions.by_alias(name)
        yield from _runs_of_aliases(aliased)
        yield from _aliases(name, model, aliased)
        yield from _rollout(paths, name, model)
        yield from _repository(paths, name, model)
    yield from _monitoring(paths, name)
    yield from _inference_log(log, retention)
    yield from _logs(paths)
    yield from _restoration(paths)
    yield from _disk(paths)


def _dead_runs() -> Iterator[Problem]:
    before = datetime.now(UTC) - SILENCE
    for experiment in mlflow_client().search_experiments():
        dead = [(run, "its process has died") for run in runs.dead_runs(experiment.name)]
        for run in runs.runs_elsewhere(experiment.name, before):
            dead.append((run, f"it began on {run.tags['mnistflow.host']} more than {SILENCE.days} days ago"))
        for run, reason in dead:
            yield Problem(
                "MLflow run",
                f"{run.name} ({run.run_id[:8]}) is RUNNING, but {reason}",
                f"{REPAIR} ends it as KILLED.",
                partial(runs.close, run.run_id),
            )


def _orphaned_workspaces(paths: Paths) -> Iterator[Problem]:
    abandoned = [(folder, "belongs to a process that has died") for folder in workspace.abandoned(paths)]
    for folder in workspace.idle_on_other_machines(paths, datetime.now(UTC) - SILENCE):
        abandoned.append((folder, f"belongs to another machine, which has not used it for {SILENCE.days} days"))
    for folder, reason in abandoned:
        yield Problem(
            "workspace",
            f"{folder} {reason}",
            f"{REPAIR} removes all but its parameters and logs.",
            partial(workspace.clear, paths, folder),
        )


def _dead_leases(name: str, model: StoredModel) -> Iterator[Problem]:
    for key, text in model.tags.items():
        if key.startswith(lease.TAG) and lease.Ticket.parse(text).has_died():
            yield Problem(
                "lease",
                f"a process that has died still holds, or waits for, the lease on {name}",
                f"{REPAIR} removes its ticket.",
                partial(mlflow_client().delete_registered_model_tag, name, key),
            )


def _foreign_versions(name: str) -> Iterator[Problem]:
    for error in versions.foreign_versions(name):
        yield Problem("version", error.problem, error.fix)


def _runs_of_aliases(aliased: Mapping[str, Version]) -> Iterator[Problem]:
    for alias, version in aliased.items():
        if runs.find(version.run_id) is None:
            error = runs.missing(version.run_id)
            yield Problem("alias", f"{alias} points to {version.title}: {error.problem}", error.fix)


def _aliases(name: str, model: StoredModel, aliased: Mapping[str, Version]) -> Iterator[Problem]:
    for alias, version in aliased.items():
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = registration.download(version, Path(folder))
                damaged = version.has_exact_file and files.sha256(found.model) != version.sha256
            except (RegistryError, DataError) as error:
                yield Problem("alias", f"{alias} points to {name} version {version.number}: {error.problem}", error.fix)
                continue
        if damaged:
            yield Problem(
                "alias",
                f"{alias} points to {name} version {version.number}, whose model.onnx in the artifact store is damaged",
                "Restore the artifact store from a backup, or promote another version.",
            )
    if versions.CHAMPION not in model.aliases:
        yield Problem("alias", f"{name} has no champion", "`mnistflow promote VERSION` makes one.")


def _rollout(paths: Paths, name: str, model: StoredModel) -> Iterator[Problem]:
    rollout = Rollout.of(model)
    if rollout and not rollouts.is_valid(name, model):
        yield Problem(
            "rollout",
            f"version {rollout.challenger} of {name} is in a rollout, but MLflow no longer has that version",
            f"{REPAIR} ends the rollout.",
            partial(reconciliation.reconcile, paths, name),
        )


def _repository(paths: Paths, name: str, model: StoredModel) -> Iterator[Problem]:
    repair = partial(reconciliation.reconcile, paths, name)
    champion = versions.by_alias(name).get(versions.CHAMPION)
    if champion is None:
        return
    if not aliases.is_move_complete(model):
        yield Problem(
            "registry", f"the last change of the champion of {name} is not recorded", f"{REPAIR} records it.", repair
        )
    published, place = publisher.published_champion(paths, name), paths.models / name
    if published != champion.number:
        behind = f"version {published}" if published else "nothing"
        yield Problem(
            "model repository",
            f"{place} serves {behind}, but the champion is version {champion.number}",
            f"{REPAIR} publishes it, as `mnistflow follow --once` does.",
            repair,
        )
    elif not publisher.is_intact(paths, champion):
        yield Problem(
            "model repository",
            f"files of version {champion.number} in {place} are missing, damaged, or those of another registry",
            f"{REPAIR} rewrites them, as `mnistflow follow --once` does.",
            repair,
        )


def _monitoring(paths: Paths, name: str) -> Iterator[Problem]:
    try:
        monitoring.read(paths, name)
    except DataError as error:
        damaged = monitoring.folder(paths, name) / "state.json"
        yield Problem("monitoring", error.problem, error.fix, partial(files.remove, damaged))


def _inference_log(log: str, retention: RetentionConfig) -> Iterator[Problem]:
    now = datetime.now(UTC)
    try:
        old = logged_inferences.collect(log, retention, now, delete=False)
    except DataError as error:
        yield Problem("inference log", error.problem, error.fix)
        return
    if old.count:
        yield Problem(
            "inference log",
            f"{old.count:,} rows without feedback are older than {retention.inferences} days",
            f"{REPAIR} removes them, as `mnistflow gc --delete` does.",
            partial(logged_inferences.collect, log, retention, now, delete=True),
        )


def _logs(paths: Paths) -> Iterator[Problem]:
    for path in sorted((paths.var / "logs").glob("*.log")):
        if path.stat().st_size > LOG_BYTES:
            yield Problem(
                "log",
                f"{path} has {path.stat().st_size / 1e6:,.0f} MB",
                f"{REPAIR} leaves the last {TAIL_BYTES / 1e6:.0f} MB.",
                partial(_shorten, path),
            )


def _restoration(paths: Paths) -> Iterator[Problem]:
    for former in restoration.former_contents(paths):
        if restoration.is_replaced(former):
            problem = f"{former} is the former var/, which a killed `mnistflow restore` has not removed"
            yield Problem("restoration", problem, f"{REPAIR} removes it.", partial(files.remove, former))
        else:
            problem = f"a killed `mnistflow restore` has moved var/ to {former}, and not replaced it"
            yield Problem("restoration", problem, f"Move it back to {paths.var}, or restore again.")


def _disk(paths: Paths) -> Iterator[Problem]:
    if shutil.disk_usage(paths.var).free < FREE_BYTES:
        yield Problem(
            "disk",
            f"less than {FREE_BYTES / 1e9:.0f} GB are free for {paths.var}",
            "`mnistflow gc --delete` removes what is old; `gc.automatic` in params.yaml does so each day.",
        )


def _shorten(path: Path) -> None:
    """Leave the end of a log. Processes that write to it append, so they go on after that."""
    with path.open("r+b") as stream:
        stream.seek(-TAIL_BYTES, os.SEEK_END)
        tail = stream.read()
        stream.seek(0)
        stream.truncate()
        stream.write(tail.partition(b"\n")[2])


def repair(problem: Problem) -> str:
    """Repair a problem; return why that failed, or nothing."""
    try:
        if problem.repair:
            problem.repair()
    except MnistflowError as error:
        return str(error)
    return ""
