"""Outages of a team's servers: each is killed for a minute in every stage of a retraining, and nothing is lost."""

import json
import re
import time
from collections.abc import Iterator

import pytest
import services
import team_setup
from checkouts import Checkout
from services import Running
from team_setup import Prefect
from waiting import POLL_SECONDS, wait_until

from mnistflow.stage_names import STAGES

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.team]

OUTAGE_SECONDS = 60.0
ENDED = ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")
PARTS = {
    "PostgreSQL": ("listen_addresses=127.0.0.1",),
    "S3": ("nanio",),
    "MLflow": ("mlflow", "server"),
    "Prefect": ("prefect", "server"),
    "Dask": ("distributed.cli.dask_scheduler",),
}


@pytest.fixture(scope="module")
def checkout() -> Iterator[Checkout]:
    with team_setup.team_checkout(trials=2) as made:
        yield made


@pytest.fixture(scope="module")
def team(checkout: Checkout) -> Iterator[Running]:
    with services.running(checkout, "team-up") as started:
        yield started
        assert started.stop() == []


class WorkerLogs:
    """What the workers have logged since it was made."""

    def __init__(self, checkout: Checkout) -> None:
        self._logs = list((checkout.folder / "var/team/logs").glob("worker-*.log"))
        self._before = {log: log.stat().st_size for log in self._logs}

    @property
    def text(self) -> str:
        return "".join(log.read_bytes()[self._before[log] :].decode(errors="replace") for log in self._logs)

    def stages_done(self) -> int:
        return sum(bool(re.search(rf"{stage}: (done|unchanged)", self.text)) for stage in STAGES)


@pytest.mark.parametrize("name", PARTS)
def test_a_retraining_survives_that_a_server_is_away_for_a_minute_in_each_stage(
    team: Running, checkout: Checkout, name: str
) -> None:
    prefect, logs = Prefect(team_setup.environment(checkout)), WorkerLogs(checkout)
    seed = 1 + list(PARTS).index(name)
    run = prefect.start("retrain/weekly", seed=seed)
    wait_until(lambda: prefect.run(run)["state_type"] == "RUNNING", team.process)
    disturbed: set[int] = set()  # stages, by the number of those before
    while prefect.run(run)["state_type"] not in ENDED:
        first = logs.stages_done()
        if first not in disturbed:
            with team_setup.outage(team, *PARTS[name]):
                time.sleep(OUTAGE_SECONDS)
                disturbed |= set(range(first, logs.stages_done() + 1))
        time.sleep(POLL_SECONDS)
    assert prefect.run(run)["state_name"] == "Completed", logs.text
    assert disturbed >= set(range(len(STAGES)))
    rows = json.loads(team_setup.member(checkout).run("leaderboard", "--json").stdout)
    assert {row["name"]: row["version"] for row in rows}[f"mlp seed={seed}"], rows
