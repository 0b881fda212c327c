"""`python -m serving.engine.candidate REPOSITORY LIMIT...`: the process in which a version is tried before it serves.

It is told name and number of the version by its standard input, once it has loaded all that it needs for that.
"""

import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from serving.errors import ModelRefusedError

REFUSED = 3


@dataclass(frozen=True, slots=True)
class CandidateLimits:
    """What a version may take before it serves.

    Attributes:
        row_seconds: for one row alone.
        seconds: to be loaded, checked and warmed up.
        memory_bytes: of address space for that.
    """

    row_seconds: float = math.inf
    seconds: float = 10.0
    memory_bytes: int = 4 * 1024**3


def main() -> int:
    """Return 0, or `REFUSED` and print why."""
    # Not above: who starts this process needs only the names, and early.
    from serving.engine.model import Model
    from serving.engine.repository import ModelRepository

    folder, row_seconds, seconds, memory_bytes = sys.argv[1:]
    limits = CandidateLimits(float(row_seconds), float(seconds), int(memory_bytes))
    version = sys.stdin.readline().split()
    if not version:
        return 0  # nothing was to be tried
    _limit_resources(limits)
    try:
        Model(ModelRepository(Path(folder)).read(version[0], int(version[1])), limits.row_seconds)
    except ModelRefusedError as error:
        sys.stdout.write(f"{error}\n")
        return REFUSED
    return 0


def _limit_resources(limits: CandidateLimits) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    # The server and its answers come first.
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    # For a server that was killed and watches over this process no more.
    seconds = math.ceil(limits.seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    sys.exit(main())
