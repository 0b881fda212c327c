"""git in a checkout: its output, files and commits."""

import re
import subprocess
from pathlib import Path

from mnistflow.errors import MnistflowError


class GitError(MnistflowError):
    """git is not installed, or a call failed."""


def run(folder: Path, *arguments: str, ok: tuple[int, ...] = (0,)) -> str:
    """Run git in a folder, and return what it prints.

    Args:
        folder: in the checkout.
        arguments: of git.
        ok: exit codes that are not failures.

    Raises:
        GitError: git is not installed, or ends with another exit code.
    """
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise GitError("git is not installed", "Install it.") from error
    if done.returncode not in ok:
        reason = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
        raise GitError(f"git {arguments[0]}: {reason}", "Run `git status` to see the state of the checkout.")
    return done.stdout


def output(folder: Path, *arguments: str) -> str | None:
    """Return what git prints in a folder; None without git, or if it fails."""
    try:
        return run(folder, *arguments)
    except GitError:
        return None


def file_at(path: Path, revision: str) -> str | None:
    """Return the text that a file has in a revision; None without git, such a revision or the file in it."""
    return output(path.parent, "show", f"{revision}:./{path.name}")


def commits_of(path: Path, limit: int) -> list[str]:
    """Return the commits of all branches that changed a file, the newest first; none without git."""
    return (output(path.parent, "log", "--all", f"-{limit}", "--format=%H", "--", path.name) or "").split()


def describe_commit(folder: Path) -> str:
    """Return the commit of a checkout, with suffix `-dirty` if tracked files were modified; `unknown` without git."""
    described = output(folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    return (described or "").strip() or "unknown"


def has_all_sources(commit: str) -> bool:
    """Return whether a result of `describe_commit` names a commit, which then has all the sources."""
    return re.fullmatch("[0-9a-f]{40,64}", commit) is not None
