"""Reproduction of a registered version from its record, and what is named when a part of the record was changed."""

import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from checkouts import Checkout

from mnistflow.data import catalog
from mnistflow.data.feedback import golden
from mnistflow.data.feedback.reports import Report
from mnistflow.paths import Paths

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("retrained")]

LEARNER = "src/mnistflow/learners/fitting/loop.py"


@pytest.fixture
def run_id(retrained: Checkout) -> str:
    ((found,),) = retrained.query("select run_id from model_versions where version = 1")
    return str(found)


@pytest.fixture
def artifacts(retrained: Checkout, run_id: str) -> Path:
    return next((retrained.folder / "var/mlflow/artifacts").glob(f"**/{run_id}/artifacts"))


@contextmanager
def changed(path: Path, content: bytes | None) -> Iterator[None]:
    """Change or remove a file in the block."""
    original, mode = path.read_bytes(), path.stat().st_mode
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    yield
    path.unlink(missing_ok=True)
    path.write_bytes(original)
    path.chmod(mode)


def refusal(checkout: Checkout) -> str:
    """Return the line that names why version 1 is not reproduced."""
    done = checkout.run("reproduce", "1", check=False)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


def state(checkout: Checkout) -> list[object]:
    """Return all that a reproduction must not change."""
    tables = ("model_versions", "registered_model_aliases", "model_version_tags")
    lock = (checkout.folder / "dvc.lock").read_bytes()
    return [lock, *(checkout.query(f"select * from {table} order by 1, 2, 3") for table in tables)]


def test_a_version_is_reproduced_from_its_record(retrained: Checkout, run_id: str) -> None:
    """Also after its sources were changed, of which the run keeps a copy, because params.yaml was not committed."""
    before = state(retrained)
    learner = retrained.folder / LEARNER
    with changed(learner, learner.read_bytes() + b"\n# changed\n"):
        output = retrained.run("reproduce", "1").stdout
    assert "sources.tar.gz of the run, as recorded" in output
    assert "of the recorded class" in output
    assert "identical" in output
    assert "360 of 360 the same" in output
    assert "promote, as recorded" in output
    assert state(retrained) == before
    attempt = "select status from runs join tags t using (run_uuid) where t.key = 'mlflow.parentRunId' and value = ?"
    kinds = "select value from tags where key = 'mnistflow.reproduced'"
    assert ("FINISHED",) in retrained.query(attempt, run_id)
    assert retrained.query(kinds) == [("identical",)]
    newest = json.loads(retrained.run("leaderboard", "--json").stdout)
    assert all("reproduce" not in row["name"] for row in newest)


def test_changed_parameters_are_named(retrained: Checkout, artifacts: Path) -> None:
    params = artifacts / "params.yaml"
    with changed(params, params.read_bytes().replace(b"epochs: 8", b"epochs: 9")):
        assert "parameter train.epochs differs" in refusal(retrained)


def test_changed_data_is_named(retrained: Checkout, artifacts: Path) -> None:
    cache = retrained.folder / "var/dvc/cache/files/md5"
    stages = yaml.safe_load((artifacts / "dvc.lock").read_text())["stages"]
    (folder,) = [out["md5"] for out in stages["prepare"]["outs"] if out["path"] == "var/data/prepared"]
    listed = {entry["relpath"]: entry["md5"] for entry in json.loads((cache / folder[:2] / folder[2:]).read_text())}
    cached = cache / listed["train.npz"][:2] / listed["train.npz"][2:]
    content = bytearray(cached.read_bytes())
    content[5000] ^= 1
    with changed(cached, bytes(content)):
        assert "var/data/prepared differs: in DVC" in refusal(retrained)


def test_a_changed_search_is_named(retrained: Checkout, artifacts: Path) -> None:
    trials = artifacts / "tune/trials.json"
    with changed(trials, trials.read_bytes().replace(b'"loss": 0.', b'"loss": 1.')):
        assert "var/tuned differs" in refusal(retrained)


def test_code_that_is_gone_is_named(retrained: Checkout, artifacts: Path) -> None:
    lock = artifacts / "dvc.lock"
    other = re.sub(rb"(path: src/mnistflow/learners\n.*\n *md5: )\w{4}", rb"\g<1>0000", lock.read_bytes())
    with changed(lock, other):
        output = refusal(retrained)
    assert "the code is gone" in output
    assert "src/mnistflow/learners of this checkout is not the one of the record" in output


def test_a_missing_part_of_the_record_is_named(retrained: Checkout, artifacts: Path) -> None:
    with changed(artifacts / "dvc.lock", None):
        assert "dvc.lock of run" in refusal(retrained)


@pytest.mark.long
def test_a_version_that_was_judged_on_a_golden_set_is_reproduced(retrained: Checkout) -> None:
    """The set itself may be gone: the recorded data has it."""
    paths, entry = Paths(retrained.folder, retrained.folder), catalog.get("digits")
    official = entry.read(paths.raw)
    turned = np.ascontiguousarray(np.rot90(official.test.inputs[:200], axes=(1, 2)))
    labels = [entry.classes[label] for label in official.test.targets[:200]]
    reports = [
        Report(f"r{row}", 0, 1.0, image, "0", label, "", "accept")
        for row, (image, label) in enumerate(zip(turned, labels, strict=True))
    ]
    drawn = golden.draw(paths, entry, reports, official, number=150, seed=0, since=None, by="ada")
    retrained.run("retrain", "-S", "train.seed=1")
    shutil.rmtree(drawn.folder)
    output = retrained.run("reproduce", "2").stdout
    assert "identical" in output
    ((decision,),) = retrained.query(
        "select value from model_version_tags where version = 2 and key = 'mnistflow.decision'"
    )
    assert f"{decision}, as recorded" in output
    assert f"golden set of 150 examples, {drawn.sha256[:12]}" in retrained.run("explain", "2").stdout
