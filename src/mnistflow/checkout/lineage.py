"""Lineage: short digests of the code, data and parameters that a result depends on, and the git commit."""

import hashlib
import json
import re
import subprocess
from functools import cache
from pathlib import Path

LENGTH = 16  # hexadecimal digits: 64 bits, enough to avoid collisions between runs


def digest(*parts: object) -> str:
    """Return a short digest of values that are serializable as JSON."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


@cache
def code_digest() -> str:
    """Return a digest of this package's sources, so that checkpoints of other code are not resumed."""
    package = Path(__file__).parents[1]
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(package.rglob("*.py"))]
    return digest(hashes)


def committed(path: Path, revision: str) -> str | None:
    """Return the text that a file has in a git revision; None without git, such a revision or the file in it."""
    return _git(path.parent, "show", f"{revision}:./{path.name}")


def revisions(path: Path, limit: int) -> list[str]:
    """Return the commits of all branches that changed a file, the newest first; none without git."""
    return (_git(path.parent, "log", "--all", f"-{limit}", "--format=%H", "--", path.name) or "").split()


def is_commit(text: str) -> bool:
    """Return whether `git_commit` names a commit that has all the sources."""
    return re.fullmatch("[0-9a-f]{40,64}", text) is not None


def git_commit(folder: Path) -> str:
    """Return the commit of a checkout, with suffix `-dirty` if tracked files were modified; `unknown` without git."""
    described = _git(folder, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    return (described or "").strip() or "unknown"


def _git(folder: Path, *arguments: str) -> str | None:
    """Return what git prints in a folder; None without git, or if it fails."""
    command = ["git", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None
