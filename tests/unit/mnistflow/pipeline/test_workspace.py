"""Workspaces: those of killed processes are tidied at the next start, and a finished run leaves its dvc.lock."""

import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from checkouts import ROOT
from dvc.utils.serialize import dump_yaml, load_yaml

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
    before_the_boot = replace(own, boot_ticks="another-boot 1")
    before_the_clock_was_set = replace(own, started=own.started + 3600)
    elsewhere = ProcessIdentity("another machine", killed.pid, killed.started)
    container = replace(killed, namespace="another container of the same host name")
    owners = {
        "killed": killed,
        "reused": reused,
        ".unfinished.tmp": killed,
        "before the boot": before_the_boot,
        "own": own,
        "before the clock was set": before_the_clock_was_set,
        "elsewhere": elsewhere,
        "container": container,
    }
    for name, owner in owners.items():
        make_workspace(runs / name, owner)
    workspaces.tidy_abandoned(Paths(tmp_path, tmp_path))
    assert {path.name for path in runs.iterdir()} == owners.keys() - {".unfinished.tmp"}
    for name in ("killed", "reused", "before the boot"):
        assert {path.name for path in (runs / name).iterdir()} == {"params.yaml", "dvc.lock", "logs"}
    for name in ("own", "before the clock was set", "elsewhere", "container"):
        assert (runs / name / "src").is_dir()
        assert (runs / name / workspaces.OWNER).is_file()


def test_the_lock_brought_home_states_fixed_parameters_as_params_yaml_does(tmp_path: Path) -> None:
    """They are part of a section in one stage, and a key of their own in another."""
    checkout, workspace = Paths(tmp_path, tmp_path), Paths(tmp_path / "var/runs/1", tmp_path)
    workspace.root.mkdir(parents=True)
    shutil.copyfile(ROOT / "params.yaml", checkout.params)
    sections = {
        "fetch": {"fetch.dataset": "digits", "fetch.fingerprint": "12"},
        "prepare": {"prepare": {"seed": 0, "feedback_until": 17.5}},
    }
    locked = {name: {"params": {"params.yaml": values}, "outs": [{"md5": "1e5"}]} for name, values in sections.items()}
    dump_yaml(workspace.root / "dvc.lock", {"schema": "2.0", "stages": locked})
    workspaces.move_outputs_to_checkout(workspace, {"fetch.fingerprint", "prepare.feedback_until"})
    stages = load_yaml(tmp_path / "dvc.lock")["stages"]
    assert stages["fetch"]["params"]["params.yaml"] == {"fetch.dataset": "digits", "fetch.fingerprint": None}
    assert stages["prepare"]["params"]["params.yaml"] == {"prepare": {"seed": 0, "feedback_until": None}}
    assert stages["fetch"]["outs"] == [{"md5": "1e5"}]
    workspaces.move_outputs_to_checkout(workspace)
    assert (tmp_path / "dvc.lock").read_bytes() == (workspace.root / "dvc.lock").read_bytes()
