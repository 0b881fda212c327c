"""Commit of dvc.lock: `mnistflow retrain --commit`.

The commit holds nothing but dvc.lock, so what the lock describes (params.yaml, dvc.yaml and the sources) must be
committed before the run. Other changes, staged or not, stay as they are.
"""

from __future__ import annotations

from mnistflow.checkout import git
from mnistflow.checkout.git import GitError
from mnistflow.errors import ConfigError
from mnistflow.paths import Paths
from mnistflow.pipeline.workspace import SOURCES

LOCK = "dvc.lock"
INPUTS = ("params.yaml", *SOURCES)


def require_commit_possible(checkout: Paths) -> None:
    """Check before a run that its dvc.lock can be committed after it.

    Raises:
        ConfigError: no git, no repository, an unfinished merge, no author, or inputs of the run are not committed.
    """
    _git(checkout, "rev-parse", "--verify", "HEAD")
    _git(checkout, "var", "GIT_COMMITTER_IDENT")
    if _git(checkout, "ls-files", "--unmerged") or _git(
        checkout, "rev-parse", "-q", "--verify", "MERGE_HEAD", ok=(0, 1)
    ):
        raise ConfigError("--commit: a merge is not finished", "Finish it with git first.")
    # Lines such as ` M params.yaml`.
    changed = [line[3:] for line in _git(checkout, "status", "--porcelain", "--", *INPUTS).splitlines()]
    if changed:
        others = f" and {len(changed) - 1} more differ" if len(changed) > 1 else " differs"
        raise ConfigError(
            f"--commit: {changed[0]}{others} from the last commit, so dvc.lock would not belong to it",
            "Commit or stash the changes first.",
        )


def commit(checkout: Paths, message: str) -> str | None:
    """Commit dvc.lock alone; return the abbreviated hash of the commit, or None if it is committed already.

    Raises:
        ConfigError: git refuses, for example because a hook fails.
    """
    if not _git(checkout, "status", "--porcelain", "--", LOCK):
        return None
    _git(checkout, "add", "--", LOCK)
    _git(checkout, "commit", "--quiet", "--only", "--message", message, "--", LOCK)
    return _git(checkout, "rev-parse", "--short", "HEAD").strip()


def _git(checkout: Paths, *arguments: str, ok: tuple[int, ...] = (0,)) -> str:
    try:
        return git.run(checkout.checkout, *arguments, ok=ok)
    except GitError as error:
        raise ConfigError(f"--commit: {error.problem}", error.fix) from error
