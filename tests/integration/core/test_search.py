"""Searches on processes of this machine and on a Dask cluster, whose parts die in the middle."""

import json
import os
import shutil
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from checkouts import QUICK, ROOT, Checkout, make_checkout, wait_until, write_params
from cluster import BINARIES, dask_cluster, postgresql

pytestmark = pytest.mark.slow

TRIALS = 4


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    made = make_checkout(tmp_path_factory.mktemp("search") / "checkout")
    search = {"tune.trials": str(TRIALS), "tune.epochs": "15", "tune.train_limit": "300", "tune.pruner": "none"}
    write_params(made, **{**QUICK, **search})
    made.run("fetch")
    made.run("prepare")
    yield made
    made.close()


@pytest.fixture
def checkout(prepared: Checkout) -> Checkout:
    """The prepared checkout without any trace of another search."""
    for name in ("mlflow", "resume", "tuned"):
        shutil.rmtree(prepared.folder / "var" / name, ignore_errors=True)
    return prepared


def runs(checkout: Checkout) -> Counter[tuple[str, str]]:
    """Count the trials' MLflow runs by name and status."""
    statement = (
        "select name, status from runs join tags using (run_uuid) where key = 'mnistflow.kind' and value = 'trial'"
    )
    return Counter(query(checkout, statement))


def query(checkout: Checkout, statement: str) -> list[Any]:
    path = checkout.folder / "var/mlflow/mlflow.db"
    if not path.exists():
        return []
    try:
        with sqlite3.connect(path) as store:
            return store.execute(statement).fetchall()
    except sqlite3.OperationalError:  # not yet made
        return []


def in_the_middle(checkout: Checkout, trials: int = 1) -> bool:
    """Whether so many trials are under way and have finished an epoch."""
    statement = "select count(distinct run_uuid) from runs join metrics using (run_uuid) where status = 'RUNNING'"
    return query(checkout, statement) == [(trials,)]


def told(checkout: Checkout) -> bool:
    """Whether the study knows of a finished trial."""
    return any(b'"state":1' in path.read_bytes() for path in checkout.folder.glob("var/resume/tune-*/*.journal"))


def psql(url: str, statement: str) -> str:
    command = ["psql", url, "-tAc", statement]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def numbers(checkout: Checkout) -> list[int]:
    return [trial["number"] for trial in json.loads((checkout.folder / "var/tuned/trials.json").read_text())]


def test_a_local_worker_that_is_killed_costs_one_trial_which_is_tried_again(checkout: Checkout) -> None:
    process = checkout.start("tune", **{"tune.trials": "2"})
    wait_until(lambda: in_the_middle(checkout, 2), process)
    workers = [p for p in psutil.Process(process.pid).children() if "spawn_main" in " ".join(p.cmdline())]
    workers[0].kill()
    said = process.communicate()[0]
    assert process.returncode == 0, said
    assert "which is tried again" in said
    assert numbers(checkout) == [0, 1]
    assert sorted(status for (_, status), n in runs(checkout).items() for _ in range(n)) == [
        "FINISHED",
        "FINISHED",
        "KILLED",
    ]


def test_dask_workers_prune_and_one_that_is_killed_costs_one_trial_which_is_tried_again(checkout: Checkout) -> None:
    """Of the learning rates, all but one are hopeless: median pruning needs what other workers have reported."""
    hopeless = "{mlp: {train.learning_rate: {choices: [0.01, 1.0e-9, 1.0e-8, 1.0e-7]}}}"
    settings = {"tune.space": hopeless, "tune.trials": "7", "tune.pruner": "median"}
    with dask_cluster(workers=2) as cluster:
        environment = {**checkout.environment, "DASK_SCHEDULER_ADDRESS": cluster.address}
        process = replace(checkout, environment=environment).start("tune", **settings)
        wait_until(lambda: in_the_middle(checkout, 2), process)
        cluster.workers[0].kill()
        cluster.add_worker()
        said = process.communicate()[0]
    assert process.returncode == 0, said
    assert f"searching on the Dask cluster at {cluster.address}: 2 workers" in said
    outcomes = runs(checkout)
    assert {name for name, status in outcomes if status == "FINISHED"} == {f"trial {n}" for n in range(7)}
    assert [status for _, status in outcomes if status != "FINISHED"] == ["KILLED"]
    trials = json.loads((checkout.folder / "var/tuned/trials.json").read_text())
    assert [trial["number"] for trial in trials] == list(range(7))
    assert min((t for t in trials if t["loss"]), key=lambda t: t["loss"])["parameters"] == {"train.learning_rate": 0.01}
    assert any(trial["loss"] is None and trial["epochs"] < 15 for trial in trials)
    pictures = {path.name for path in (checkout.folder / "var/reports/tune").iterdir()}
    assert pictures == {"history.png", "importance.png"}


def test_the_death_of_the_scheduler_is_told_in_one_line_and_the_next_start_goes_on(checkout: Checkout) -> None:
    with dask_cluster(workers=1) as cluster:
        process = checkout.start("tune", **{"tune.scheduler": cluster.address})
        wait_until(lambda: told(checkout) and in_the_middle(checkout), process)
        cluster.scheduler.kill()
        said = process.communicate()[0]
    assert process.returncode == 1
    errors = [line for line in said.splitlines() if line.startswith("error:")]
    assert errors == [
        f"error: the Dask scheduler at {cluster.address} is gone. Start it and its workers, then start again: "
        "the search goes on with its finished trials."
    ]
    assert "Traceback" not in said
    again = checkout.run("tune")  # here: where the trials run changes nothing in what they find
    assert f" of {TRIALS} trials done" in again.stderr
    assert len(numbers(checkout)) == TRIALS
    assert not any(status == "RUNNING" for _, status in runs(checkout))


def test_a_worker_with_other_sources_is_refused(checkout: Checkout, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src")
    (tmp_path / "src/mnistflow/lineage.py").open("a").write("\n# changed\n")
    with dask_cluster(workers=0) as cluster:
        cluster.add_worker(PYTHONPATH=os.pathsep.join([str(tmp_path / "src"), str(ROOT)]))
        done = checkout.run("tune", check=False, **{"tune.scheduler": cluster.address})
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: the Dask worker ")
    assert "other sources" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("tcp://127.0.0.1:1", "error: no Dask scheduler answers at tcp://127.0.0.1:1"),
        ("nonsense", "error: the overridden parameters: tune.scheduler"),
        ("tcp://127.0.0.1", "error: the overridden parameters: tune.scheduler"),
    ],
)
def test_a_bad_address_is_told_in_one_line(checkout: Checkout, address: str, problem: str) -> None:
    done = checkout.run("tune", check=False, **{"tune.scheduler": address})
    assert done.returncode == 1
    assert done.stderr.startswith(problem)
    assert len(done.stderr.splitlines()) == 1


def test_a_database_that_does_not_answer_is_told_in_one_line_without_its_password(checkout: Checkout) -> None:
    done = checkout.run("tune", check=False, **{"tune.storage": "postgresql://someone:secret@127.0.0.1:1/study"})
    assert done.returncode == 1
    assert done.stderr.startswith("error: tune.storage postgresql://127.0.0.1:1/study cannot be opened")
    assert len(done.stderr.splitlines()) == 1
    assert "secret" not in done.stderr


@pytest.mark.skipif(not BINARIES, reason="PostgreSQL is not installed: apt-get install postgresql")
def test_a_study_in_postgresql_is_shared_by_dask_workers_and_survives_a_kill(checkout: Checkout) -> None:
    with postgresql() as url, dask_cluster(workers=2) as cluster:
        settings = {"tune.storage": url, "tune.scheduler": cluster.address}
        process = checkout.start("tune", **settings)
        wait_until(lambda: "COMPLETE" in psql(url, "select state from trials"), process)
        process.kill()
        process.wait()
        done = checkout.run("tune", **settings)
        assert f" of {TRIALS} trials done" in done.stderr
        table = psql(url, "select state, count(*) from trials group by state")
    assert f"COMPLETE|{TRIALS}" in table
    assert len(numbers(checkout)) == TRIALS
    assert not list((checkout.folder / "var").glob("**/*.journal"))
