"""Sweeps over families, as a user starts, stops and reads them."""

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import numpy as np
import psutil
import pytest
from checkouts import QUICK, ROOT, Checkout, kill_all, make_checkout, still_running, workers, write_params
from cluster import dask_cluster
from PIL import Image
from serving_kit import Server, inference_request
from waiting import wait_until

from mnistflow import config, tasks
from mnistflow.tasks import intervals

pytestmark = pytest.mark.slow

TINY = {
    "prepare.train_limit": "400",
    "tune.space": "{lstm: {train.learning_rate: {low: 0.001, high: 0.01}}}",  # the only family that is tuned
    "train.epochs": "2",
    "train.min_steps": "0",
    "evaluate.repeats": "3",
    "evaluate.robustness_images": "50",
    "evaluate.mistakes": "4",
    "model.cnn.blocks": "[[8], [16]]",
    "model.attention.width": "16",
    "model.attention.depth": "1",
    "model.resnet.filters": "[8, 16]",
    "model.svm.components": "50",
    "model.forest.trees": "10",
    "model.boosting.rounds": "5",
}
PUBLISHING = """
import json, shutil, sys
from pathlib import Path

from dvc.repo import Repo
from mlflow.artifacts import download_artifacts

from mnistflow import environment
from mnistflow.evaluation import evaluate
from mnistflow.paths import Paths
from mnistflow.registry import promotion, registration
from mnistflow.tracking import runs

run_ids, folder = json.loads(sys.argv[1]), Path(sys.argv[2])
home = Paths.locate()
environment.configure(home)
versions = {}
for family, run in run_ids.items():
    download_artifacts(run_id=run, artifact_path="dvc.lock", dst_path=str(home.root))
    with Repo() as repository:
        repository.checkout(force=True)
    version = registration.register_candidate(home, runs.resume(run), evaluate.load(home))
    promotion.make_champion(home, version, "test")
    shutil.copyfile(home.evaluated / "predictions.npz", folder / f"{family}.npz")
    versions[family] = version.number
(folder / "versions.json").write_text(json.dumps(versions))
"""
MODELS = config.load(ROOT / "params.yaml").model
PREDICTING = MODELS.compatible(tasks.get("image_classification"), (28, 28))
EVERY = [name for name in PREDICTING if MODELS.parameters_of(name).trainable]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    made = make_checkout(tmp_path_factory.mktemp("sweep") / "checkout")
    write_params(made, **{key: value for key, value in {**QUICK, **TINY}.items() if key != "model.family"})
    yield made
    made.close()


def runs(row: dict[str, Any]) -> list[str]:
    """Return the MLflow runs of a row, in the order of their seeds."""
    return [result["run_id"] for result in row["results"]]


def finished(checkout: Checkout) -> set[Path]:
    return {path for path in checkout.folder.glob("var/sweeps/*/*.json") if path.name != "sweep.json"}


def running(checkout: Checkout) -> set[str]:
    return {name for (name,) in checkout.query("select name from runs where status = 'RUNNING'")}


def children(checkout: Checkout, run: str) -> dict[str, str]:
    """Return the names and states of a run's child runs that were not ended from outside."""
    return dict(
        checkout.query(
            "select name, status from runs join tags on runs.run_uuid = tags.run_uuid "
            "where key = 'mlflow.parentRunId' and value = ? and status != 'KILLED'",
            run,
        )
    )


def metrics(checkout: Checkout, run: str) -> dict[str, float]:
    return dict(checkout.query("select key, value from latest_metrics where run_uuid = ?", run))


def parent(checkout: Checkout, run: str) -> str:
    ((above,),) = checkout.query("select value from tags where run_uuid = ? and key = 'mlflow.parentRunId'", run)
    return str(above)


@pytest.fixture(scope="module")
def swept(checkout: Checkout) -> dict[str, Any]:
    """The result of a sweep of all families that was killed and started again."""
    process = checkout.start("sweep")
    wait_until(lambda: len(finished(checkout)) >= 2, process)
    family = psutil.Process(process.pid).children(recursive=True)
    kill_all(process)
    assert still_running(family) == []
    before = finished(checkout)
    assert all("score" in json.loads(path.read_text()) for path in before)

    done = checkout.run("sweep", "--json")
    assert f"continuing with {len(before)} of {len(EVERY)} runs done" in done.stderr
    assert not any(f"{path.stem}: started" in done.stderr for path in before)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


@pytest.mark.long
def test_a_sweep_of_all_families_that_is_killed_goes_on_and_ends_with_a_table(
    checkout: Checkout, swept: dict[str, Any]
) -> None:
    result = swept
    rows = {row["name"]: row for row in result["families"]}
    assert set(rows) == set(EVERY)
    assert result["failed"] == {}
    assert [row["score"] for row in result["families"]] == sorted((r["score"] for r in rows.values()), reverse=True)
    for row in rows.values():
        assert row["score"] == pytest.approx(1 - row["errors"] / 360)
        assert row["interval"] == pytest.approx(intervals.wilson(row["errors"], 360))
        assert row["interval"][0] < row["score"] < row["interval"][1]
        assert min(row["parameters"], row["file_megabytes"], row["latency_ms"], row["train_seconds"]) > 0
        assert 1 <= row["best_epoch"] <= row["epochs"] <= 2

    assert children(checkout, result["run_id"]) == dict.fromkeys(EVERY, "FINISHED")
    trials = {name: metrics(checkout, *runs(row))["tune.trials"] for name, row in rows.items()}
    assert trials == {**dict.fromkeys(EVERY, 0), "lstm": 2}
    assert len(children(checkout, *runs(rows["lstm"]))) == 2
    assert not running(checkout)
    artifacts = next(checkout.folder.glob(f"var/mlflow/artifacts/**/{result['run_id']}/artifacts/sweep"))
    assert {path.name for path in artifacts.iterdir()} == {"sweep.json", "pareto.png"}
    assert Image.open(artifacts / "pareto.png").width > 800
    assert not list(checkout.folder.glob("var/sweeps/**/.*.tmp"))
    assert {row["family"] for row in json.loads(checkout.run("leaderboard", "--json").stdout)} == set(EVERY)

    again = checkout.run("sweep")
    assert "unchanged" in again.stderr
    assert all(name in again.stdout for name in EVERY)


@pytest.mark.long
def test_every_family_is_published_and_served_from_what_its_run_has_kept(
    checkout: Checkout, swept: dict[str, Any], tmp_path: Path
) -> None:
    """The lock file in a run's record names all that the run has made."""
    runs_of = {row["name"]: runs(row)[0] for row in swept["families"]}
    checkout.python(PUBLISHING, json.dumps(runs_of), str(tmp_path))
    versions = json.loads((tmp_path / "versions.json").read_text())
    assert set(versions) == set(EVERY)
    with Server(checkout.folder / "var/models") as server:
        for family, version in versions.items():
            with np.load(tmp_path / f"{family}.npz") as evaluated:
                expected = evaluated["outputs"]
            with np.load(checkout.folder / f"var/models/digits-classifier/{version}/probe.npz") as probe:
                images = probe["inputs"]
            answer = server.client.post(
                f"/v2/models/digits-classifier/versions/{version}/infer", json=inference_request(images)
            )
            assert answer.status_code == 200, answer.text
            probabilities = np.reshape(answer.json()["outputs"][0]["data"], (-1, 10))
            assert probabilities == pytest.approx(expected[: len(images)], abs=1e-5), family


def test_repeats_with_other_seeds_share_a_row_and_a_run_above_theirs(checkout: Checkout) -> None:
    repeated = ("sweep", "--families", "forest", "--seeds", "2")
    result = json.loads(checkout.run(*repeated, "--json").stdout)
    assert children(checkout, result["run_id"]) == {"forest": "FINISHED"}
    for row in result["families"]:
        scores = [one["score"] for one in row["results"]]
        assert scores[0] != scores[1]
        assert (row["score"], row["spread"]) == pytest.approx((mean(scores), stdev(scores)))
        above = {parent(checkout, run) for run in runs(row)}
        assert len(above) == 1
        assert children(checkout, *above) == {f"{row['name']} seed={seed}": "FINISHED" for seed in (0, 1)}
        logged = metrics(checkout, *above)
        assert (logged["test_accuracy"], logged["test_accuracy.spread"]) == (row["score"], row["spread"])
        assert logged["test_accuracy.n"] == 2
        assert logged["train_seconds"] == median(one["train_seconds"] for one in row["results"])
        for seed, run in enumerate(runs(row)):
            kept = next(checkout.folder.glob(f"var/mlflow/artifacts/**/{run}/artifacts/params.yaml"))
            settings = config.load(kept)
            assert (settings.train.seed, settings.tune.seed) == (seed, seed)
    again = checkout.run(*repeated)
    assert "unchanged" in again.stderr
    assert again.stdout.count(" ± ") == 1
    overrides = {row["run_id"]: row["overrides"] for row in json.loads(checkout.run("leaderboard", "--json").stdout)}
    first, second = (overrides[run] for run in runs(row))
    assert first == {"model.family": "forest"}
    assert second == first | {"train.seed": 1, "tune.seed": 1}


@pytest.mark.long
def test_a_family_that_fails_and_one_that_is_killed_cost_their_rows_only(checkout: Checkout) -> None:
    settings = {"train.learning_rate": "1.0e+30", "train.seed": "3"}  # with which a network diverges
    process = checkout.start("sweep", "--families", "linear,attention,forest", "--jobs", "1", **settings)
    wait_until(lambda: "linear seed=3 learning_rate=1e+30" in running(checkout), process)
    workers(process.pid)[0].kill()
    output = process.communicate()[0]
    error = output.splitlines()[-1]
    assert process.returncode == 1
    assert "forest seed=3: done" in output
    assert error.startswith("error: 2 of 3 runs failed: linear seed=3: a worker process ended with -9")
    assert "; attention seed=3: stage train failed" in error
    assert ".." not in error
    assert len(re.findall(r"WARNING: (?:linear|attention) seed=3: .*; its log: .*/run\.log", output)) == 2
    assert "diverged" in error
    assert "Traceback" not in output
    assert not running(checkout)
    result = json.loads(max(checkout.folder.glob("var/sweeps/*/sweep.json"), key=os.path.getmtime).read_text())
    assert [row["name"] for row in result["families"]] == ["forest"]
    assert list(result["failed"]) == ["linear seed=3", "attention seed=3"]
    assert children(checkout, result["run_id"]) == {
        "forest learning_rate=1e+30": "FINISHED",
        "attention seed=3 learning_rate=1e+30": "FAILED",
    }
    assert ("sweep of 3 families learning_rate=1e+30",) in checkout.query("select name from runs")


@pytest.mark.long
def test_runs_on_a_dask_cluster_outlive_a_worker(checkout: Checkout) -> None:
    """A run has a worker to itself, where its own trials are executed too."""
    on_workers = """
        select process.value from runs join tags as process using (run_uuid)
        where process.key = 'mnistflow.process' and status = 'RUNNING'
    """
    with dask_cluster(workers=2) as cluster:
        settings = {"tune.scheduler": cluster.address, "tune.trials": "2", "train.seed": "11"}
        sweep = checkout.start("sweep", "--families", "lstm,linear", **settings)

        def busy() -> list[subprocess.Popen[bytes]]:
            pids = {int(process) for (process,) in checkout.query(on_workers)}
            return [worker for worker in cluster.workers if worker.pid in pids]

        wait_until(busy, sweep)
        busy()[0].kill()
        output = sweep.communicate()[0]
    assert sweep.returncode == 0, output
    assert f"working on the Dask cluster at {cluster.address}: 2 workers" in output
    result = json.loads(max(checkout.folder.glob("var/sweeps/*/sweep.json"), key=os.path.getmtime).read_text())
    assert {row["name"] for row in result["families"]} == {"lstm", "linear"}
    assert not running(checkout)


@pytest.mark.long
@pytest.mark.parametrize(("signal_sent", "under_way"), [(signal.SIGINT, 0), (signal.SIGTERM, 1)])
def test_ctrl_c_ends_all_runs(checkout: Checkout, signal_sent: signal.Signals, under_way: int) -> None:
    """While the workers start, and in the middle of a family."""
    process = checkout.start("sweep", "--families", "linear,mlp", **{"train.seed": str(signal_sent.value)})
    wait_until(lambda: len(workers(process.pid)) == len(os.sched_getaffinity(0) & {0, 1}), process)
    seed = signal_sent.value
    wait_until(lambda: len(running(checkout) & {f"linear seed={seed}", f"mlp seed={seed}"}) >= under_way, process)
    family = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal_sent)
    output = process.communicate()[0]
    assert process.returncode == 130, output
    assert "resumes where this one stopped" in output
    assert "Traceback" not in output
    assert still_running(family) == []
    assert not running(checkout)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--families", "linear,boson"], "unknown family 'boson'"),
        (["--families", ""], "unknown family ''"),
        (["--families", "linear,ensemble"], "model.ensemble.members is empty"),
        (["-S", "model.family=mlp"], "override model.family"),
        (["-S", "train.epoch=1"], "override train.epoch"),
    ],
)
def test_an_invalid_sweep_ends_with_one_line(checkout: Checkout, arguments: list[str], problem: str) -> None:
    done = checkout.run("sweep", *arguments, check=False)
    *before, error = done.stderr.splitlines()
    assert done.returncode == 1
    assert error.startswith(f"error: {problem}")
    assert not any("error" in line for line in before)
