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
    command = ["git", "-C", str(path.parent), "show", f"{revision}:./{path.name}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout if done.returncode == 0 else None


def revisions(path: Path, limit: int) -> list[str]:
    """Return the commits of all branches that changed a file, the newest first; none without git."""
    command = ["git", "-C", str(path.parent), "log", "--all", f"-{limit}", "--format=%H", "--", path.name]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return []
    return done.stdout.split()


def is_commit(text: str) -> bool:
    """Return whether `git_commit` names a commit that has all the sources."""
    return re.fullmatch("[0-9a-f]{40,64}", text) is not None


def git_commit(folder: Path) -> str:
    """Return the commit of a checkout, with suffix `-dirty` if tracked files were modified; `unknown` without git."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return done.stdout.strip() or "unknown"
