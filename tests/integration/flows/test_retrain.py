"""The whole road, from raw data to the model that serves, as a user drives it."""

import json
import os
import signal
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import psutil
import pytest

from .conftest import QUICK, Checkout, write_params

pytestmark = pytest.mark.slow

MODEL = "var/models/digits-classifier"


def status(checkout: Checkout) -> Any:
    return json.loads(checkout.run("status", "--json").stdout)


def leaderboard(checkout: Checkout) -> Any:
    return json.loads(checkout.run("leaderboard", "--json").stdout)


def probe_is_reproduced(version: Path) -> bool:
    session = onnxruntime.InferenceSession((version / "model.onnx").read_bytes())
    with np.load(version / "probe.npz") as probe:
        return bool(np.allclose(session.run(None, {"images": probe["inputs"]})[0], probe["outputs"], atol=1e-4))


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 180) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stdout.read() if process.stdout else ""
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill_all(process: subprocess.Popen[str]) -> None:
    """Kill -9 the process and everything it started."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()


def test_a_retraining_ends_with_a_champion_that_can_be_served(retrained: Checkout) -> None:
    now = status(retrained)
    version = retrained.folder / MODEL / "1"
    assert now["dataset"] == "digits"
    assert now["champion"]["version"] == 1
    assert (retrained.folder / MODEL / "champion").read_text().strip() == "1"
    assert now["model_repository"] == str(retrained.folder / MODEL)
    assert probe_is_reproduced(version)
    described = json.loads((version / "model.json").read_text())
    assert described["run_id"] == now["champion"]["run_id"]
    assert described["metrics"]["accuracy"] == now["champion"]["accuracy"]
    metadata = onnxruntime.InferenceSession((version / "model.onnx").read_bytes()).get_modelmeta().custom_metadata_map
    assert metadata["dataset"] == "digits"
    assert metadata["data_sha256"] == described["data_sha256"]


def test_git_sees_nothing_of_a_retraining(retrained: Checkout) -> None:
    changed = retrained.tool("git", "status", "--porcelain").split()
    assert set(changed) <= {"M", "params.yaml"}  # written by this test's own settings


def test_every_trial_and_epoch_is_in_mlflow(retrained: Checkout) -> None:
    with sqlite3.connect(retrained.folder / "var/mlflow/mlflow.db") as store:
        kinds = dict(store.execute("select value, count(*) from tags where key = 'mnistflow.kind' group by value"))
        (parent,) = store.execute("select run_uuid from tags where key='mnistflow.kind' and value='retrain'").fetchone()
        steps = store.execute("select step from metrics where run_uuid=? and key='val_loss'", (parent,))
        epochs = [step for (step,) in steps]
        parents = store.execute("select value from tags where key = 'mlflow.parentRunId'").fetchall()
        names = {k for (k,) in store.execute("select key from latest_metrics where run_uuid=?", (parent,))}
        inputs = store.execute("select name, digest from datasets").fetchall()
        unfinished = store.execute("select count(*) from runs where status != 'FINISHED'").fetchone()
    assert kinds == {"retrain": 1, "trial": 2}
    assert parents == [(parent,)] * 2
    assert sorted(epochs) == list(range(1, len(epochs) + 1))
    assert {"test_accuracy", "best_val_loss", "best_epoch", "latency_ms_batch_1", "test_recall.3"} <= names
    assert any(name.startswith("system/") for name in names)
    assert [name for name, _ in inputs] == ["digits"]
    assert unfinished == (0,)


def test_the_run_keeps_what_is_needed_to_repeat_it(retrained: Checkout) -> None:
    run_id = status(retrained)["champion"]["run_id"]
    artifacts = next((retrained.folder / "var/mlflow/artifacts").glob(f"**/{run_id}/artifacts"))
    kept = {str(path.relative_to(artifacts)) for path in artifacts.rglob("*") if path.is_file()}
    assert {
        "params.yaml",
        "dvc.lock",
        "environment.json",
        "probe.npz",
        "tune/trials.json",
        "reports/train/curves.png",
        "reports/evaluate/confusion.png",
        "reports/evaluate/mistakes.png",
        "reports/prepare/samples.png",
    } <= kept


def test_an_identical_retraining_is_recognised(retrained: Checkout) -> None:
    before = status(retrained)
    said = retrained.run("retrain")
    assert "unchanged" in said.stdout
    assert status(retrained) == before
    assert len(leaderboard(retrained)) == 1
    assert sorted(path.name for path in (retrained.folder / MODEL).iterdir() if path.is_dir()) == ["1"]


def test_dvc_commands_work_in_the_checkout(retrained: Checkout, tmp_path: Path) -> None:
    assert "evaluate" in retrained.tool("dvc", "dag")
    metrics = json.loads(retrained.tool("dvc", "metrics", "show", "--json"))[""]["data"]
    accuracy = metrics["var/reports/evaluate/metrics.json"]["data"]["accuracy"]
    assert accuracy == pytest.approx(status(retrained)["champion"]["accuracy"])
    assert "train.epochs" in retrained.tool("dvc", "params", "diff")
    retrained.tool("dvc", "plots", "show", "-o", str(tmp_path / "plots"))
    page = (tmp_path / "plots/index.html").read_text()
    assert "val_loss" in page
    assert "confusion" in page
    assert "Running stage" not in retrained.tool("dvc", "repro")
    assert "up to date" in retrained.tool("dvc", "status")
    (retrained.folder / "dvc.lock").unlink()


def test_a_worse_model_does_not_pass_and_a_promotion_by_hand_can_be_undone(retrained: Checkout) -> None:
    before = (retrained.folder / "params.yaml").read_bytes()
    retrained.run("retrain", **{"train.epochs": "1", "tune.trials": "0", "train.learning_rate": "0.0001"})
    now = status(retrained)
    assert now["champion"]["version"] == 1
    assert now["challenger"]["version"] == 2
    assert now["challenger"]["decision"] in {"hold", "reject"}
    assert (retrained.folder / "params.yaml").read_bytes() == before
    retrained.run("promote", "2")
    assert status(retrained)["serving"] == 2
    retrained.run("rollback")
    assert status(retrained)["champion"]["version"] == 1
    assert status(retrained)["serving"] == 1


def test_without_a_mirror_the_fallback_goes_under_its_own_name(checkout: Checkout) -> None:
    write_params(checkout, **{**QUICK, "fetch.dataset": "mnist", "fetch.mirrors": "[nowhere]"})
    done = checkout.run("retrain")
    assert "WARNING" in done.stderr
    assert "digits" in done.stderr
    assert status(checkout)["dataset"] == "digits"
    assert [path.name for path in (checkout.folder / "var/models").iterdir()] == ["digits-classifier"]
    with sqlite3.connect(checkout.folder / "var/mlflow/mlflow.db") as store:
        assert {name for (name,) in store.execute("select name from experiments")} == {"Default", "digits"}
        params = dict(store.execute("select key, value from params where key = 'data.name'"))
    assert params == {"data.name": "digits"}


def test_without_a_mirror_and_a_fallback_there_is_one_clear_error(checkout: Checkout) -> None:
    done = checkout.run("retrain", check=False, **{"fetch.mirrors": "[nowhere]", "fetch.fallback": "null"})
    errors = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert done.returncode == 1
    assert len(errors) == 1
    assert "MNISTFLOW_MIRRORS" in errors[0]
    assert "Traceback" not in done.stderr
    assert not (checkout.folder / "var/models").exists()


def test_a_failing_stage_names_itself_its_log_and_the_way_on(checkout: Checkout) -> None:
    done = checkout.run("retrain", check=False, **{**QUICK, "export.max_probability_gap": "1e-12"})
    error = done.stderr.splitlines()[-1]
    assert done.returncode == 1
    assert "stage export failed" in error
    assert "logs/export.log" in error
    assert "mnistflow retrain" in error
    assert "Traceback" not in done.stderr
    assert not (checkout.folder / "var/models").exists()
    again = checkout.run("retrain", **QUICK)
    assert "train: unchanged" in again.stderr


def test_two_retrainings_with_other_parameters_at_the_same_time(checkout: Checkout) -> None:
    write_params(checkout, **QUICK)
    before = (checkout.folder / "params.yaml").read_bytes()
    first = checkout.start("retrain", **{"train.seed": "1", "tune.trials": "0"})
    second = checkout.start("retrain", **{"train.seed": "2", "tune.trials": "0"})
    outputs = [process.communicate()[0] for process in (first, second)]
    assert [first.returncode, second.returncode] == [0, 0], outputs
    assert (checkout.folder / "params.yaml").read_bytes() == before
    assert {row["version"] for row in leaderboard(checkout)} == {1, 2}
    assert status(checkout)["serving"] == status(checkout)["champion"]["version"]


@pytest.fixture
def champion(checkout: Checkout) -> Iterator[Checkout]:
    """A checkout with a champion, whose next retraining has something to do."""
    write_params(checkout, **QUICK, **{"tune.workers": "1"})
    checkout.run("retrain")
    yield checkout


@pytest.mark.parametrize("moment", ["tune", "train", "publish"])
def test_kill_9_loses_nothing(champion: Checkout, moment: str) -> None:
    folder = champion.folder
    settings = {
        "train.seed": "7",
        "train.epochs": "40",
        "train.patience": "40",
        "tune.trials": "6",
        "gate.significance": "0.99",
    }
    resume, models = folder / "var/resume", folder / MODEL
    reached: dict[str, Callable[[], bool]] = {
        "tune": lambda: any(b'"state": 1' in path.read_bytes() for path in resume.glob("tune-*/*.journal")),
        "train": lambda: any(resume.glob("train-*/epoch-0005")),
        "publish": lambda: any(models.glob(".2.*")) or (models / "2").exists(),
    }
    process = champion.start("retrain", **settings)
    wait_until(reached[moment], process)
    kill_all(process)
    assert status(champion)["serving"] == 1
    assert probe_is_reproduced(models / "1")
    whole = [path for path in models.iterdir() if path.is_dir() and path.name.isdigit()]
    assert all(probe_is_reproduced(path) for path in whole)
    done = champion.run("retrain", **settings)
    now = status(champion)
    assert now["serving"] == now["champion"]["version"]
    assert sorted(row["version"] for row in leaderboard(champion) if row["version"]) == [1, 2]
    with sqlite3.connect(folder / "var/mlflow/mlflow.db") as store:
        statuses = {s for (s,) in store.execute("select status from runs where lifecycle_stage = 'active'")}
        killed = store.execute("select count(*) from runs where status = 'KILLED'").fetchone()[0]
    assert "RUNNING" not in statuses
    assert killed >= 1
    told = {"tune": "going on with", "train": "going on after epoch", "publish": "train: unchanged"}
    assert told[moment] in done.stderr


def test_interrupt_ends_the_whole_family(checkout: Checkout) -> None:
    process = checkout.start("retrain", **{**QUICK, "train.epochs": "500", "train.patience": "500"})
    wait_until(lambda: any((checkout.folder / "var/resume").glob("train-*/epoch-*")), process)
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)
    process.communicate()
    assert process.returncode != 0
    psutil.wait_procs(family, timeout=20)
    assert [member for member in family if member.is_running() and member.status() != psutil.STATUS_ZOMBIE] == []
