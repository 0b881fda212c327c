"""Workspaces of killed processes: tidied at the next start, while those of living processes stay."""

import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from mnistflow.paths import Paths
from mnistflow.pipeline import workspace as workspaces
from mnistflow.process_identity import ProcessIdentity


def make_workspace(folder: Path, owner: ProcessIdentity) -> None:
    for name in ("var/raw", "src", "flows", ".dvc", "logs"):
        (folder / name).mkdir(parents=True)
    for name in ("params.yaml", "dvc.lock", "logs/train.log"):
        (folder / name).write_text("")
    (folder / workspaces.OWNER).write_text(json.dumps(asdict(owner)))


@pytest.fixture
def killed() -> ProcessIdentity:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        identity = ProcessIdentity.of(process.pid)
        assert not identity.has_died()
        process.kill()
    return identity


def test_workspaces_of_killed_processes_are_tidied(tmp_path: Path, killed: ProcessIdentity) -> None:
    runs = tmp_path / "var/runs"
    own = ProcessIdentity.own()
    reused = ProcessIdentity(own.host, own.pid, own.started - 100)  # its number went to another process
    elsewhere = ProcessIdentity("another machine", killed.pid, killed.started)
    owners = {"killed": killed, "reused": reused, ".unfinished.tmp": killed, "own": own, "elsewhere": elsewhere}
    for name, owner in owners.items():
        make_workspace(runs / name, owner)
    workspaces.tidy_abandoned(Paths(tmp_path, tmp_path))
    assert {path.name for path in runs.iterdir()} == {"killed", "reused", "own", "elsewhere"}
    for name in ("killed", "reused"):
        assert {path.name for path in (runs / name).iterdir()} == {"params.yaml", "dvc.lock", "logs"}
    for name in ("own", "elsewhere"):
        assert (runs / name / "src").is_dir()
        assert (runs / name / workspaces.OWNER).is_file()
