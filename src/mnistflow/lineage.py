"""Where a result comes from: the code, the data and the settings that it depends on, as short digests."""

import hashlib
import json
import subprocess
from functools import cache
from pathlib import Path

LENGTH = 16  # hexadecimal digits: 64 bits tell any number of runs on one machine apart


def digest(*parts: object) -> str:
    """Return a short digest of values that JSON can hold."""
    text = json.dumps(parts, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:LENGTH]


@cache
def code_digest() -> str:
    """Return a digest of this package's sources, so that unfinished work of other code is not continued."""
    package = Path(__file__).parent
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(package.rglob("*.py"))]
    return digest(hashes)


def git_commit(folder: Path) -> str:
    """Return the commit of the checkout, with `-dirty` when tracked files differ; `unknown` without git."""
    command = ["git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "unknown"
    return answer.stdout.strip() or "unknown"
