"""Process guard of test sessions: a killed pytest leaves nothing behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import session_guard
from waiting import WAIT_SECONDS

OF_THIS_SESSION = {session_guard.MARK, "PYTEST_ADDOPTS"}
CONFTEST = """
import session_guard

def pytest_configure():
    session_guard.start()
"""
# A shell lets what it runs in the background ignore SIGINT, which processes inherit.
PYTEST = """
import signal, sys, pytest
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.exit(pytest.main(sys.argv[1:]))
"""
TEST = """
import subprocess, sys

def test_that_waits_for_a_service():
    service = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(3600)"], start_new_session=True)
    print("service", service.pid, flush=True)
    service.wait()
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_service_ends_with_an_interrupted_session(tmp_path: Path, how: signal.Signals) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_it.py").write_text(TEST)
    environment = {name: value for name, value in os.environ.items() if name not in OF_THIS_SESSION}
    session = subprocess.Popen(
        [sys.executable, "-c", PYTEST, "-s", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", str(tmp_path)],
        env={**environment, "PYTHONPATH": str(Path(session_guard.__file__).parent)},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert session.stdout
    line = next(line for line in session.stdout if line.startswith("service"))
    service = psutil.Process(int(line.split()[1]))
    session.send_signal(how)
    session.communicate()
    _, remaining = psutil.wait_procs([service], timeout=WAIT_SECONDS)
    assert not remaining


def test_the_workers_of_a_session_share_what_one_of_them_makes() -> None:
    made = []
    for _ in range(2):
        folder = session_guard.shared("made once", lambda folder: made.append((folder / "file").write_text("made")))
        assert (folder / "file").read_text() == "made"
    assert len(made) == 1
