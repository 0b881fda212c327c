"""Short digests of the code, data and parameters that a result depends on."""

import hashlib
import json
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
