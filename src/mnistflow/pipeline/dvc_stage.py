"""DVC's side of a stage: whether it must run, its outputs in the cache, and the push to the remote.

DVC resolves paths against the working directory of the process. So these functions change it, and must be called in a
process that does nothing else at the same time.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from typing import TYPE_CHECKING

from mnistflow.errors import StageError
from mnistflow.paths import Paths

if TYPE_CHECKING:
    from dvc.repo import Repo


def reproduce(workspace: Paths, name: str, execute: Callable[[], None]) -> bool:
    """Run a stage, or restore its outputs from the cache, as DVC's `reproduce` does.

    Args:
        execute: runs the stage, in the place of its command.

    Returns:
        Whether the stage was run.

    Raises:
        StageError: dvc.yaml is not valid, or DVC refuses the stage. Errors of `execute` pass through.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import lock_repo
    from dvc.stage.cache import RunCacheNotFoundError

    try:
        with _repository(workspace) as repository, lock_repo(repository):
            (stage,) = repository.stage.collect(name)
            if stage.cmd != f"mnistflow {name}":
                raise StageError(f"dvc.yaml: stage {name} runs {stage.cmd!r}", f"It has to be `mnistflow {name}`.")
            if not stage.changed():
                return False
            stage.remove_outs()
            try:
                repository.stage_cache.restore(stage)
                executed = False
            except RunCacheNotFoundError:
                execute()
                executed = True
            repository.commit(name, force=True)
            return executed
    except DvcException as error:
        raise StageError(f"DVC refuses stage {name}: {error}", "Correct dvc.yaml or .dvc/config.") from error


def push(workspace: Paths) -> int:
    """Copy the outputs of the stages to DVC's default remote; return how many files were new there."""
    with _repository(workspace) as repository:
        return int(repository.push())


@contextmanager
def _repository(workspace: Paths) -> Iterator[Repo]:
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.WARNING)
    with chdir(workspace.root), Repo(str(workspace.root)) as repository:
        yield repository
