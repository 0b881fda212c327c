"""Whether stage outputs belong to params.yaml and dvc.lock, against a pipeline that DVC has executed."""

import subprocess
import sys
from pathlib import Path

import pytest

from mnistflow.checkout import stage_outputs
from mnistflow.paths import Paths

PARAMS = "fetch: {dataset: digits}\nprepare: {seed: 0, train_limit: null}\ntrain: {epochs: 3, augment: {shift: 0.1}}\n"
COMMAND = "mkdir -p var/NAME/deep && echo b > var/NAME/deep/a"
STAGES = {"fetch": "fetch.dataset", "prepare": "prepare", "tune": "train", "train": "train"}


def stage(name: str, section: str | None) -> str:
    params = f"    params: [{section}]\n" if section else ""
    return f"  {name}:\n    cmd: {COMMAND.replace('NAME', name)}\n{params}    outs: [var/{name}]\n"


@pytest.mark.slow
def test_outputs_of_another_params_yaml_or_lock_are_noticed(tmp_path: Path) -> None:
    def dvc(*arguments: str) -> None:
        subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=tmp_path, check=True, capture_output=True)

    paths, params, lock = Paths(tmp_path, tmp_path), tmp_path / "params.yaml", tmp_path / "dvc.lock"
    params.write_text(PARAMS)
    stages = {**STAGES, "export": None, "evaluate": None}
    (tmp_path / "dvc.yaml").write_text("stages:\n" + "".join(stage(name, section) for name, section in stages.items()))
    assert stage_outputs.mismatch(paths, "evaluate") is None  # no lock yet
    dvc("init", "--no-scm", "-q")
    dvc("repro", "-q")
    assert stage_outputs.mismatch(paths, "prepare") is stage_outputs.mismatch(paths, "evaluate") is None
    params.write_text(PARAMS.replace("shift: 0.1", "shift: 0.2"))
    assert stage_outputs.mismatch(paths, "prepare") is None
    assert stage_outputs.mismatch(paths, "evaluate") == "dvc.lock and params.yaml differ in `train.augment.shift`"
    params.write_text(PARAMS.replace("dataset: digits", "dataset: mnist, fallback: digits"))
    assert stage_outputs.mismatch(paths, "evaluate") is None  # a run that found no mirror of mnist
    params.write_text(PARAMS.replace("dataset: digits", "dataset: mnist, fallback: null"))
    assert stage_outputs.mismatch(paths, "evaluate") == "dvc.lock and params.yaml differ in `fetch.dataset`"
    params.write_text(PARAMS)
    (tmp_path / "var/evaluate/deep/a").unlink()
    (tmp_path / "var/evaluate/deep/a").write_text("of another branch")
    assert stage_outputs.mismatch(paths, "evaluate") == (
        "var/evaluate is not what dvc.lock describes (`dvc checkout` restores that)"
    )
    dvc("checkout", "-q", "--force")
    assert stage_outputs.mismatch(paths, "evaluate") is None
    lock.write_text("schema: '2.0'\n")
    assert stage_outputs.mismatch(paths, "evaluate") == "dvc.lock does not describe stage evaluate"
