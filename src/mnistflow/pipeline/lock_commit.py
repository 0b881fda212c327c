"""Commit of dvc.lock: `mnistflow retrain --commit`.

The commit holds nothing but dvc.lock, so what the lock describes (params.yaml, dvc.yaml and the sources) must be
committed before the run. Other changes, staged or not, stay as they are.
"""

from __future__ import annotations

import subprocess

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
    """Run git in a checkout, and return what it prints.

    Args:
        ok: exit codes that are no failure.
    """
    command = ["git", "-C", str(checkout.checkout), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise ConfigError("--commit needs git, which is not installed", "Install it.") from error
    if done.returncode not in ok:
        reason = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise ConfigError(
            f"--commit: git {arguments[0]}: {reason}", "Run `git status` to see the state of the checkout."
        )
    return done.stdout
