"""The Makefile knows when the environment has to be made."""

import shutil
import subprocess
from pathlib import Path

import pytest
from checkouts import ROOT

PREREQUISITES = ("requirements.lock", "pyproject.toml", "hatch_build.py", "src/mnistflow/__init__.py")


def setup_commands(checkout: Path) -> str:
    """Return what `make setup` would do."""
    done = subprocess.run(["make", "--dry-run", "setup"], cwd=checkout, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.slow
def test_an_environment_is_ready_only_where_it_was_made(tmp_path: Path) -> None:
    checkout = tmp_path / "a checkout"
    for name in ("Makefile", *PREREQUISITES, "serving/protocol/_pixels.c"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, checkout / name)
    (checkout / ".venv").mkdir()
    assert "pip sync" in setup_commands(checkout)
    (checkout / ".venv/.ready").write_text(f"{checkout}\n")
    assert "pip sync" not in setup_commands(checkout)
    moved = checkout.rename(tmp_path / "moved")
    assert "pip sync" in setup_commands(moved)
