"""Validation process: loads, checks and warms up one version, with limits on time and memory.

Its arguments are PARENT REPOSITORY KEY LIMIT...: PARENT is the process ID of the server, with which this process ends;
KEY is the file with the trusted public key, or empty. It reads the name and the number of the version from standard
input, so that it can start before they are known.
"""

import math
import os
import sys
from dataclasses import dataclass
from pathlib import Path

from serving.errors import ModelRefusedError
from serving.process.parent import die_with_parent

REFUSED = 3


@dataclass(frozen=True, slots=True)
class ValidationLimits:
    """Limits of a version that is validated.

    Attributes:
        slowest_seconds: seconds that inference on one row may take.
        seconds: that loading, checking and warming up may take.
        memory_bytes: of address space that these may take.
    """

    slowest_seconds: float = math.inf
    seconds: float = 10.0
    memory_bytes: int = 4 * 1024**3


def main() -> int:
    """Validate a version; return 0, or print the reason and return `REFUSED`."""
    parent, folder, key, slowest_seconds, seconds, memory_bytes = sys.argv[1:]
    die_with_parent(int(parent))
    # Imported here, because the server imports this module only for its names, and should not wait for these.
    from serving.engine.model import Model
    from serving.engine.repository import ModelRepository
    from serving.engine.signature import TrustedKey

    limits = ValidationLimits(float(slowest_seconds), float(seconds), int(memory_bytes))
    version = sys.stdin.readline().split()
    if not version:
        return 0  # the server ended before it had a version to validate
    _limit_resources(limits)
    try:
        repository = ModelRepository(Path(folder), TrustedKey(Path(key)) if key else None)
        Model(repository.read(version[0], int(version[1])), limits.slowest_seconds)
    except ModelRefusedError as error:
        sys.stdout.write(f"{error}\n")
        return REFUSED
    return 0


def _limit_resources(limits: ValidationLimits) -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    # Running requests of the server have priority.
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    # Where the kernel does not end this process with the server.
    seconds = math.ceil(limits.seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


if __name__ == "__main__":
    sys.exit(main())
