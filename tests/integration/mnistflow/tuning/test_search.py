"""Searches on processes of this machine and on a Dask cluster, whose parts die in the middle."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psutil
import psycopg
import pytest
from checkouts import QUICK, ROOT, Checkout, make_checkout, still_running, write_params
from cluster import BINARIES, Cluster, dask_cluster, network_hosts, postgresql
from mirror import Mirror
from waiting import wait_until

pytestmark = pytest.mark.slow

TRIALS = 4  # of six, Hyperband would let two go on
EPOCHS = 2
# The first trial has the rate of params.yaml, the highest: after an epoch, no other is as good.
RATES = "{linear: {train.learning_rate: {low: 0.0001, high: 0.01, log: true}}}"


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    made = make_checkout(tmp_path_factory.mktemp("search") / "checkout")
    search = {
        "model.family": "linear",
        "tune.trials": str(TRIALS),
        "tune.epochs": str(EPOCHS),
        "tune.train_limit": "300",
        "tune.pruner": "hyperband",
        "tune.space": RATES,
    }
    write_params(made, **{**QUICK, **search})
    made.run("fetch")
    made.run("prepare")
    yield made
    made.close()


@dataclass(frozen=True)
class TrialRun:
    """A trial's run, as MLflow has it.

    Attributes:
        process: that runs the trial.
        epoch: the last one that is finished; 0 in the first, -1 before the trial has logged its parameters.
    """

    name: str
    status: str
    process: int
    epoch: int

    @property
    def is_in_first_epoch(self) -> bool:
        return self.status == "RUNNING" and self.epoch == 0


def runs(checkout: Checkout, since: float) -> list[TrialRun]:
    """Return the runs of trials that were started since then; none when the store cannot be read at the moment."""
    statement = """
        select name, status, process.value,
            coalesce((select max(step) from metrics where metrics.run_uuid = runs.run_uuid),
                     exists (select 1 from params where params.run_uuid = runs.run_uuid) - 1)
        from runs join tags as kind using (run_uuid) join tags as process using (run_uuid)
        where kind.key = 'mnistflow.kind' and kind.value = 'trial' and process.key = 'mnistflow.process'
        and start_time >= ?
    """
    rows = checkout.query(statement, since * 1000)
    return [TrialRun(name, status, int(process), epoch) for name, status, process, epoch in rows]


def kill_in_a_trial(
    checkout: Checkout, search: subprocess.Popen[str], since: float, process: int | None = None
) -> None:
    """Kill a worker, this one or any, in the first epoch of a trial; it is stopped first, to be sure of that."""

    def caught() -> bool:
        for trial in runs(checkout, since):
            if process in (None, trial.process) and trial.is_in_first_epoch:
                worker = psutil.Process(trial.process)
                worker.suspend()
                if any(run.is_in_first_epoch for run in runs(checkout, since) if run.process == trial.process):
                    worker.kill()
                    return True
                worker.resume()
        return False

    wait_until(caught, search)


def found(checkout: Checkout) -> list[dict[str, Any]]:
    """Return the trials of the last search."""
    trials: list[dict[str, Any]] = json.loads((checkout.folder / "var/tuned/trials.json").read_text())
    return trials


def has_finished(checkout: Checkout, since: float, name: str) -> bool:
    return any(run.name == name and run.status == "FINISHED" for run in runs(checkout, since))


def expect_pruning_by_the_first_trial(checkout: Checkout) -> None:
    first, *others = found(checkout)
    assert first["loss"]
    assert first["parameters"] == {"train.learning_rate": 0.01}
    assert [(trial["loss"], trial["epochs"]) for trial in others] == [(None, 1)] * (TRIALS - 1)


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A cluster of two workers; scheduler and workers are hosts of their own where such can be made."""
    with network_hosts(3) as hosts, dask_cluster(2, hosts) as running:
        yield running


@pytest.mark.long
def test_two_dask_workers_prune_and_one_that_is_killed_costs_one_trial_which_is_tried_again(
    prepared: Checkout, cluster: Cluster
) -> None:
    """The second worker, which has something else to do at first, prunes by what the first has reported."""
    since = time.time()
    one, other = cluster.workers
    with cluster.occupied(other):
        process = prepared.start("tune", **{"tune.scheduler": cluster.address})
        wait_until(lambda: has_finished(prepared, since, "trial 0"), process)
    kill_in_a_trial(prepared, process, since, one.pid)
    output = process.communicate()[0]
    assert process.returncode == 0, output
    assert f"working on the Dask cluster at {cluster.address}: 2 workers" in output
    ran = runs(prepared, since)
    # What the one had finished and the search not yet taken is lost with it, and run again.
    assert {run.name for run in ran if run.status == "FINISHED"} == {f"trial {n}" for n in range(TRIALS)}
    assert [(run.status, run.process) for run in ran if run.status != "FINISHED"] == [("KILLED", one.pid)]
    assert {run.process for run in ran if run.status == "FINISHED"} == {one.pid, other.pid}
    expect_pruning_by_the_first_trial(prepared)
    assert not list((prepared.folder / "var").glob("**/*.journal"))


@pytest.mark.long
@pytest.mark.skipif(not BINARIES, reason="needs PostgreSQL: apt-get install postgresql")
def test_a_search_in_postgresql_survives_the_death_of_the_scheduler_and_of_a_local_worker(
    prepared: Checkout,
) -> None:
    """What was under way is tried again, what is finished counts and prunes, wherever it ran."""
    with postgresql() as storage, dask_cluster(workers=1) as cluster:
        since = time.time()
        environment = {**prepared.environment, "DASK_SCHEDULER_ADDRESS": cluster.address}
        process = replace(prepared, environment=environment).start("tune", **{"tune.storage": storage})
        wait_until(
            lambda: any(run.is_in_first_epoch and run.name != "trial 0" for run in runs(prepared, since)),
            process,
        )
        cluster.scheduler.kill()
        output = process.communicate()[0]
        for worker in cluster.workers:
            worker.kill()
        assert process.returncode == 1
        errors = [line for line in output.splitlines() if line.startswith("error:")]
        assert errors == [
            f"error: the Dask scheduler at {cluster.address} is gone. Start it and its workers, then start again: "
            "what is finished is kept."
        ]
        assert "Traceback" not in output

        since_then = time.time()
        again = prepared.start("tune", **{"tune.storage": storage, "tune.workers": "2"})
        kill_in_a_trial(prepared, again, since_then)
        output = again.communicate()[0]
        assert again.returncode == 0, output
        going_on = re.search(rf"resuming with ([1-{TRIALS - 1}]) of {TRIALS} trials done", output)
        assert going_on, output
        assert output.count("which is tried again") == 1
        assert count_complete(storage) == 1
    expect_pruning_by_the_first_trial(prepared)
    here = Counter(run.status for run in runs(prepared, since_then))
    assert here == {"KILLED": 1, "FINISHED": TRIALS - int(going_on[1])}
    assert {run.status for run in runs(prepared, since)} == {"FINISHED", "KILLED"}
    assert not list((prepared.folder / "var").glob("**/*.journal"))
    pictures = {path.name for path in (prepared.folder / "var/reports/tune").iterdir()}
    assert pictures == {"history.png", "importance.png"}


def count_complete(url: str) -> int:
    with psycopg.connect(url) as connection:
        (row,) = connection.execute("select count(*) from trials where state = 'COMPLETE'").fetchall()
    return int(row[0])


@pytest.mark.long
def test_a_worker_with_other_sources_is_refused(prepared: Checkout, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "src", tmp_path / "src")
    (tmp_path / "src/mnistflow/checkout/digests.py").open("a").write("\n# changed\n")
    with dask_cluster(workers=0) as cluster:
        cluster.add_worker(PYTHONPATH=os.pathsep.join([str(tmp_path / "src"), str(ROOT)]))
        done = prepared.run("tune", check=False, **{"tune.scheduler": cluster.address})
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: the Dask worker ")
    assert "has different sources of mnistflow" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("tcp://127.0.0.1:1", "error: no Dask scheduler answers at tcp://127.0.0.1:1"),
        ("nonsense", "error: DASK_SCHEDULER_ADDRESS: is not an address of a Dask scheduler, such as tcp://"),
    ],
)
def test_a_bad_address_is_told_in_one_line(prepared: Checkout, address: str, problem: str) -> None:
    environment = {**prepared.environment, "DASK_SCHEDULER_ADDRESS": address}
    done = replace(prepared, environment=environment).run("tune", check=False)
    assert done.returncode == 1
    assert done.stderr.startswith(problem)
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.long
def test_what_answers_and_is_no_scheduler_is_told_in_one_line(prepared: Checkout, tmp_path: Path) -> None:
    """Something that says nothing, and a web server."""
    with socket.create_server(("127.0.0.1", 0)) as silent, Mirror(tmp_path) as web:
        addresses = [f"tcp://127.0.0.1:{port}" for port in (silent.getsockname()[1], urlsplit(web.url).port)]
        searches = [
            prepared.start("tune", **{"tune.scheduler": address, "tune.seed": str(seed)})
            for seed, address in enumerate(addresses)
        ]
        outputs = [search.communicate()[0].splitlines() for search in searches]
    assert [search.returncode for search in searches] == [1, 1]
    for address, (line,) in zip(addresses, outputs, strict=True):
        assert line.startswith(f"error: no Dask scheduler answers at {address}: ")


def test_a_database_that_does_not_answer_is_told_in_one_line_without_its_password(prepared: Checkout) -> None:
    done = prepared.run("tune", check=False, **{"tune.storage": "postgresql://someone:secret@127.0.0.1:1/study"})
    assert done.returncode == 1
    assert done.stderr.startswith("error: tune.storage postgresql://127.0.0.1:1/study cannot be opened")
    assert len(done.stderr.splitlines()) == 1
    assert "secret" not in done.stderr


@pytest.mark.parametrize("times", [1, pytest.param(2, marks=pytest.mark.long)])
def test_ctrl_c_in_a_search_ends_it_with_one_line_and_leaves_nothing(prepared: Checkout, times: int) -> None:
    """A terminal sends the signal to all processes of the group; an impatient user sends it twice."""
    since = time.time()
    search = prepared.start("tune", **{"tune.workers": "2", "tune.seed": str(40 + times), "tune.epochs": "200"})
    wait_until(lambda: any(run.is_in_first_epoch for run in runs(prepared, since)), search)
    family = psutil.Process(search.pid).children(recursive=True)
    os.killpg(search.pid, signal.SIGINT)
    if times == 2:
        wait_until(lambda: psutil.wait_procs(family, timeout=0)[0])  # the search is about to end
        os.killpg(search.pid, signal.SIGINT)
    output = search.communicate()[0]
    assert still_running(family) == []
    assert search.returncode == 130, output
    assert output.splitlines()[-1] == "interrupted: the same command resumes where this one stopped"
    for nonsense in ("Exception ignored", "leaked", "Traceback", "KeyboardInterrupt"):
        assert nonsense not in output, output
    if times == 1:
        assert {run.status for run in runs(prepared, since)} == {"KILLED"}
