"""Tries a version in a process of its own, so that a model which crashes its loader takes no server with it."""

import os
import subprocess
import sys
from pathlib import Path

from serving.errors import ModelRefusedError
from serving.model import Model
from serving.repository import ModelRepository

TIMEOUT_SECONDS = 60
MEMORY_BYTES = 4 * 1024**3
REFUSED = 3


def validate(repository: ModelRepository, name: str, version: int, slowest_seconds: float) -> None:
    """Load, check and warm up a version elsewhere; takes about half a second.

    Raises:
        ModelRefusedError: it is not fit to serve, crashes, or takes too much time or memory.
    """
    arguments = [str(repository.folder.absolute()), name, str(version), str(slowest_seconds)]
    command = [sys.executable, "-m", "serving.candidate", *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ModelRefusedError(f"loading it takes more than {TIMEOUT_SECONDS} seconds") from None
    if done.returncode == REFUSED:
        raise ModelRefusedError(done.stdout.strip())
    if done.returncode != 0:
        raise ModelRefusedError(f"loading it ends the process with status {done.returncode}")


def _limit_resources() -> None:
    try:
        import resource
    except ImportError:  # Windows
        return
    # The server and its answers come first.
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CPU, (TIMEOUT_SECONDS, TIMEOUT_SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def main() -> int:
    """Answer for `python -m serving.candidate REPOSITORY NAME VERSION SECONDS`: 0, or `REFUSED` and why."""
    folder, name, version, slowest_seconds = sys.argv[1:]
    _limit_resources()
    try:
        Model(ModelRepository(Path(folder)).read(name, int(version)), float(slowest_seconds))
    except ModelRefusedError as error:
        sys.stdout.write(f"{error}\n")
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
