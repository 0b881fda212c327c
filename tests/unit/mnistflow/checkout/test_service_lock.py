"""Which processes keep `var/` from being replaced, and until when."""

import subprocess
import sys
from pathlib import Path

import pytest

from mnistflow.checkout import service_lock
from mnistflow.errors import MnistflowError
from mnistflow.paths import Paths

# Takes the lock, becomes a program that waits for its input to end, as `mnistflow serve` becomes the server.
SERVE = """
import os, sys
from pathlib import Path
from mnistflow.checkout import service_lock
from mnistflow.paths import Paths

home = Path(sys.argv[1])
with service_lock.shared(Paths(home, home)):
    os.execv(sys.executable, [sys.executable, "-c", "print('serving', flush=True); input()"])
"""


def take_alone(paths: Paths) -> None:
    with service_lock.exclusive(paths):
        pass


def test_services_share_the_lock_and_a_restoration_needs_it_alone(tmp_path: Path) -> None:
    paths = Paths(tmp_path, tmp_path)
    with service_lock.shared(paths), service_lock.shared(paths), pytest.raises(MnistflowError, match="is running in"):
        take_alone(paths)
    with service_lock.exclusive(paths), pytest.raises(MnistflowError, match="is being replaced"):
        service_lock.shared(paths).__enter__()
    take_alone(paths)


def test_a_program_keeps_the_lock_of_the_process_that_it_replaces_until_a_kill(tmp_path: Path) -> None:
    paths = Paths(tmp_path, tmp_path)
    command = [sys.executable, "-c", SERVE, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout and service.stdout.readline() == "serving\n"
        with pytest.raises(MnistflowError, match="is running in"):
            take_alone(paths)
        service.kill()
        service.wait()
        take_alone(paths)
