"""Lease on a registered model of a real MLflow server: one process decides after the other, whatever becomes of it."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from mlflow import MlflowClient
from registries import using
from waiting import wait_until

from mnistflow.errors import RegistryError
from mnistflow.paths import Paths
from mnistflow.process_identity import ProcessIdentity
from mnistflow.tracking import lease
from mnistflow.tracking.lease import Lease, Ticket
from mnistflow.tracking.store import open_store

pytestmark = pytest.mark.slow

# Reads a number, waits, and writes the number after it: without the lease, one of two processes is lost.
COUNT = """
import sys, time
from mlflow import MlflowClient
from mnistflow.tracking.lease import Lease
from mnistflow.tracking.store import open_store

model, times = sys.argv[1], int(sys.argv[2])
for _ in range(times):
    with Lease(model).acquire():
        number = int(open_store().model(model).tags.get("count", "0"))
        time.sleep(0.02)
        MlflowClient().set_registered_model_tag(model, "count", str(number + 1))
"""
HOLD = """
import sys
from mnistflow.tracking.lease import Lease

with Lease(sys.argv[1]).acquire():
    print("has it", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture(autouse=True)
def paths(mlflow_uri: str, tmp_path: Path) -> Iterator[Paths]:
    with using(mlflow_uri, Paths(tmp_path, tmp_path)) as paths:
        yield paths


@pytest.fixture
def model(request: pytest.FixtureRequest) -> str:
    MlflowClient().create_registered_model(request.node.name)
    return str(request.node.name)


def tags(model: str) -> dict[str, str]:
    stored = open_store().model(model)
    assert stored
    return dict(stored.tags)


def tickets(model: str) -> int:
    return sum(key.startswith(lease.TAG) for key in tags(model))


def holder(model: str) -> subprocess.Popen[str]:
    """Start a process that holds the lease until a line is sent to it."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, model], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    assert process.stdout.readline() == "has it\n"
    return process


@pytest.mark.long
def test_processes_take_turns(model: str) -> None:
    counting = [subprocess.Popen([sys.executable, "-c", COUNT, model, "6"]) for _ in range(3)]
    assert [process.wait() for process in counting] == [0, 0, 0]
    assert tags(model) == {"count": "18"}


def test_who_waits_gets_it_when_the_other_ends_or_is_killed(model: str) -> None:
    for how in ("sends a line", "kills"):
        process, waiting = holder(model), Lease(model)
        with pytest.raises(RegistryError, match="is deciding on the champion of"):
            Lease(model).acquire(wait_seconds=0)
        thread = Thread(target=waiting.acquire)
        thread.start()
        wait_until(lambda: tickets(model) == 2, process)
        assert thread.is_alive()
        if how == "kills":
            process.kill()
        process.communicate("" if how == "kills" else "\n")
        thread.join()
        assert tickets(model) == 1
        waiting.release()
        assert tags(model) == {}


def test_what_a_dead_process_of_another_machine_has_left_is_removed(model: str) -> None:
    elsewhere = {**ProcessIdentity.own().__dict__, "host": "elsewhere"}
    ticket = {"number": 1, "renewals": 0, "who": "ada@elsewhere", "owner": elsewhere}
    client = MlflowClient()
    client.set_registered_model_tag(model, f"{lease.TAG}dead", json.dumps(ticket))
    client.set_registered_model_tag(model, f"{lease.TAG}rubbish", "no ticket")
    with Lease(model, seconds=1.0).acquire():
        assert tickets(model) == 1


def test_a_ticket_is_renewed_while_it_is_held(model: str) -> None:
    with Lease(model, seconds=1.0).acquire():
        wait_until(lambda: [Ticket.parse(text).renewals for text in tags(model).values()] > [2])


def test_an_unknown_model_has_no_lease() -> None:
    with pytest.raises(RegistryError, match="never_registered is not registered"):
        Lease("never_registered").acquire()
