"""Requests that are almost right get a 4xx, or the right answer; the server stays as it is."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

FUZZ = Path(__file__).parents[3] / "benchmarks/serving/fuzz.py"


@pytest.mark.hostile
def test_what_is_almost_right_does_no_harm() -> None:
    command = [sys.executable, str(FUZZ), "--cases", "300"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("300 cases") == 4
