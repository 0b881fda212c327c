"""DVC's side of a stage: whether it must run, its outputs in the cache, the check of the remote and the push to it.

DVC resolves paths against the working directory of the process. So these functions change it, and must be called in a
process that does nothing else at the same time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import chdir, contextmanager, suppress
from itertools import takewhile
from typing import TYPE_CHECKING, Any

from mnistflow.errors import StageError
from mnistflow.paths import Paths

if TYPE_CHECKING:
    from dvc.repo import Repo

CHECK_FILE = "mnistflow-check"


def restore(workspace: Paths, names: Sequence[str]) -> tuple[str, ...]:
    """Restore the outputs of consecutive stages from the cache, up to the first that has to run; return their names.

    Raises:
        StageError: dvc.yaml is not valid, or DVC refuses a stage.
    """
    with _locked_stages(workspace, names) as (repository, stages):
        restored = tuple(takewhile(lambda stage: _restore(repository, stage), stages))
        if restored:
            # Once for all of them: to write dvc.lock takes longer than to restore a stage, nearly all of it for YAML.
            restored[0].dvcfile.dump_stages(restored, update_pipeline=False)
    return tuple(stage.name for stage in restored)


def _restore(repository: Repo, stage: Any) -> bool:
    from dvc.stage.cache import RunCacheNotFoundError

    if not stage.changed():
        return True
    stage.remove_outs()
    try:
        repository.stage_cache.restore(stage)
    except RunCacheNotFoundError:
        return False
    stage.save(run_cache=False)  # which has the entry that was just restored
    stage.commit()
    return True


def run(workspace: Paths, name: str, execute: Callable[[], None]) -> None:
    """Run a stage and record its outputs.

    Args:
        execute: runs the stage, in the place of its command.

    Raises:
        StageError: dvc.yaml is not valid, or DVC refuses the stage. Errors of `execute` pass through.
    """
    with _locked_stages(workspace, [name]) as (_, (stage,)):
        stage.remove_outs()
        execute()
        # As `dvc commit` does, without collecting the stage again: half of that time is spent on parsing YAML.
        stage.save(run_cache=True)
        stage.commit()
        stage.dump(update_pipeline=False)


def check_remote(workspace: Paths) -> None:
    """Write a small file to DVC's default remote, before hours are spent on what is to be pushed there.

    Raises:
        StageError: there is no such remote, its driver is not installed, or credentials or permissions are missing.
    """
    with _repository(workspace) as repository:
        try:
            remote = repository.cloud.get_remote_odb()
            if remote.fs.protocol != "local":
                remote.fs.makedirs(remote.path)
                remote.fs.put_file(str(workspace.params), remote.fs.join(remote.path, CHECK_FILE))
        except Exception as error:  # of DVC and of the driver of each kind of storage: they share no base class
            raise StageError(
                f"DVC's remote cannot be written: {error or type(error).__name__}",
                "S3 needs `pip install '.[s3]'`, Google Cloud `[gcs]`, and each its credentials, "
                "such as AWS_PROFILE or AWS_ACCESS_KEY_ID; `dvc remote list` names the remote.",
            ) from error


def pull(workspace: Paths, folder: str) -> bool:
    """Take an output that dvc.lock describes from DVC's cache or its remote; return whether one of them has it.

    Args:
        folder: the output, relative to the workspace.
    """
    from dvc.exceptions import DvcException

    with _repository(workspace) as repository:
        for fetch in (repository.checkout, repository.pull):
            with suppress(DvcException):
                fetch(targets=[folder], force=True)
                return True
    return False


def push(workspace: Paths) -> int:
    """Copy the outputs of the stages to DVC's default remote; return how many files were new there.

    Raises:
        StageError: the remote cannot be written.
    """
    from dvc.exceptions import DvcException

    try:
        with _repository(workspace) as repository:
            return int(repository.push())
    except DvcException as error:
        raise StageError(
            f"DVC cannot push to its remote: {error}", "Check the remote in .dvc/config, then run the command again."
        ) from error


@contextmanager
def _locked_stages(workspace: Paths, names: Sequence[str]) -> Iterator[tuple[Repo, list[Any]]]:
    from dvc.exceptions import DvcException
    from dvc.repo import lock_repo

    try:
        with _repository(workspace) as repository, lock_repo(repository):
            known = {stage.name: stage for stage in repository.stage.load_file()}
            yield repository, [_checked(known, name) for name in names]
    except DvcException as error:
        raise StageError(f"DVC refuses {', '.join(names)}: {error}", "Correct dvc.yaml or .dvc/config.") from error


def _checked(known: Mapping[str, Any], name: str) -> Any:
    if name not in known:
        raise StageError(f"dvc.yaml has no stage {name}", "Restore it with git.")
    if known[name].cmd != f"mnistflow {name}":
        raise StageError(f"dvc.yaml: stage {name} runs {known[name].cmd!r}", f"It must be `mnistflow {name}`.")
    return known[name]


@contextmanager
def _repository(workspace: Paths) -> Iterator[Repo]:
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.WARNING)
    with chdir(workspace.root), Repo(str(workspace.root)) as repository:
        yield repository
