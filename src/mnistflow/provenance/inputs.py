"""Inputs of a recorded run: sources, parameters, data and search, put into a workspace and checked."""

from __future__ import annotations

import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from mnistflow import files
from mnistflow.checkout import stage_outputs
from mnistflow.errors import MnistflowError, NotReproduced
from mnistflow.paths import Paths
from mnistflow.pipeline import dvc_stage, pipeline, replay, sources
from mnistflow.pipeline import workspace as workspaces
from mnistflow.provenance.run_record import RunRecord
from mnistflow.runtime import machine
from mnistflow.tracking.runs import Run
from mnistflow.workers.base import WorkerDied
from mnistflow.workers.processes import LocalWorkers

DATA = {"fetch": "var/data/raw", "prepare": "var/data/prepared"}
SEARCH = "var/tuned"


def provide_sources(record: RunRecord, workspace: Paths) -> str:
    """Put the sources of the run into the workspace, and return where they come from.

    Those of the checkout are taken if they are the recorded ones, else the run's archive, else its git commit.

    Raises:
        NotReproduced: none of them has the sources that dvc.lock describes.
    """
    differences = []
    for origin, provide in _origins_of_sources(record, workspace):
        with tempfile.TemporaryDirectory(dir=workspace.root) as temporary:
            folder = Path(temporary)
            if not provide(folder):
                continue
            if difference := sources.first_difference(folder, record.stages):
                differences.append(f"{difference} of {origin} is not the one of the record")
                continue
            for source in folder.iterdir():
                shutil.move(source, workspace.root / source.name)
            return origin
    gone = f"commit {record.commit} is not in this repository" if record.commit != "unknown" else "no commit has it"
    raise NotReproduced(
        f"the code is gone: {gone}; {'; '.join(differences)}", "Fetch the commit with git, or restore the archive."
    )


def _origins_of_sources(record: RunRecord, workspace: Paths) -> Iterator[tuple[str, Callable[[Path], bool]]]:
    commit = record.commit.removesuffix("-dirty")

    def from_checkout(folder: Path) -> bool:
        workspaces.copy_sources(workspace, folder)
        return True

    def from_archive(folder: Path) -> bool:
        with suppress(NotReproduced, tarfile.TarError, OSError):
            sources.unpack(record.artifact(sources.ARCHIVE).read_bytes(), folder)
            return True
        return False

    def from_git(folder: Path) -> bool:
        archive = sources.archive_of_commit(workspace.checkout, commit) if commit != "unknown" else None
        if archive is not None:
            sources.unpack(archive, folder)
        return archive is not None

    yield "this checkout", from_checkout
    yield f"{sources.ARCHIVE} of the run", from_archive
    yield f"commit {commit}", from_git


def provide_parameters(record: RunRecord, workspace: Paths) -> None:
    """Put params.yaml and dvc.lock of the run into the workspace.

    Raises:
        NotReproduced: the two state different parameters, so one of them was changed.
    """
    shutil.copyfile(record.params, workspace.params)
    shutil.copyfile(record.lock, workspace.root / "dvc.lock")
    if other := stage_outputs.other_parameter(record.parameters, record.stages):
        raise NotReproduced(
            f"parameter {other} differs: params.yaml of run {record.run_id} is not that of its dvc.lock"
        )


def provide_data(record: RunRecord, workspace: Paths, run: Run) -> str:
    """Put the prepared data into the workspace, and return where it comes from.

    It is taken from DVC by its hash. What DVC does not have any more is fetched and prepared again.

    Raises:
        NotReproduced: the data is gone, or is other data.
    """
    prepared = record.output("prepare", DATA["prepare"])
    if _pull(workspace, DATA["prepare"]):
        _check(workspace, DATA["prepare"], prepared, "in DVC")
        return "DVC"
    files.remove(workspace.prepared)
    try:
        for stage, folder in DATA.items():
            run_stage(record, workspace, run, stage)
            _check(workspace, folder, record.output(stage, folder), "as the sources of the data give it today")
    except NotReproduced as error:
        raise NotReproduced(
            f"DVC does not have {DATA['prepare']} ({prepared}) any more, and {error.problem}",
            "Configure DVC's remote, or name a mirror that has the data in MNISTFLOW_MIRRORS.",
        ) from error
    return "its sources: fetched and prepared again"


def provide_search(record: RunRecord, workspace: Paths) -> None:
    """Put the outcome of the run's search into the workspace.

    Raises:
        NotReproduced: it is not what dvc.lock describes.
    """
    folder = workspace.root / SEARCH
    folder.mkdir(parents=True)
    shutil.copyfile(record.trials, folder / "trials.json")
    files.write_json(folder / "best.json", {"overrides": record.best_parameters})
    _check(workspace, SEARCH, record.output("tune", SEARCH), f"in the artifacts of run {record.run_id}")


def _check(workspace: Paths, folder: str, recorded: str, where: str) -> None:
    md5 = stage_outputs.md5(workspace.root / folder)
    if md5 != recorded:
        raise NotReproduced(f"{folder} differs: {where} it has md5 {md5} instead of {recorded}")


def other_machine(record: RunRecord) -> str | None:
    """Return the first difference of this machine, with as many cores as recorded, from the recorded one, or None."""
    now = {**machine.describe(_backend(record)), "cores": str(len(_cores(record)))}
    for name, value in now.items():
        recorded = record.environment.get(name)
        if recorded != value:
            return f"{name} differs: {value} instead of {recorded}"
    return None


def run_stage(record: RunRecord, workspace: Paths, run: Run, stage: str) -> None:
    """Run a stage with the recorded sources, in a process with as many cores as recorded.

    Raises:
        NotReproduced: the stage fails.
    """
    job = (stage, str(workspace.root), str(workspace.checkout), run.run_id)
    folders = pipeline.import_folders(workspace)
    try:
        with LocalWorkers[Any, None]([_cores(record)], import_from=folders) as workers:
            workers.result(workers.submit(replay.run_stage, job))
    except (MnistflowError, WorkerDied) as error:
        reason = error.problem if isinstance(error, MnistflowError) else "its process was killed"
        raise NotReproduced(f"stage {stage} fails: {reason}", getattr(error, "fix", "")) from error
    except (ImportError, AttributeError) as error:
        raise NotReproduced(
            f"the recorded sources have no entry point for this command: {error}",
            f"Check out {record.commit} and run `{record.command}`.",
        ) from error


def _pull(workspace: Paths, folder: str) -> bool:
    """Take a folder from DVC, which works in the current folder: in a process of its own."""
    with LocalWorkers[Any, bool]([os.sched_getaffinity(0)]) as workers:
        return workers.result(workers.submit(_pull_here, (workspace, folder)))


def _pull_here(job: tuple[Paths, str]) -> bool:
    return dvc_stage.pull(*job)


def _cores(record: RunRecord) -> set[int]:
    """Return as many cores as the training had, or all if there are fewer."""
    available = sorted(os.sched_getaffinity(0))
    return set(available[: int(record.environment.get("cores", len(available)))])


def _backend(record: RunRecord) -> str:
    return str(record.logged.parameters.get("train.backend", "tensorflow"))
