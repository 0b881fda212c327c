"""A team's set-up as a user starts and stops it: a retraining and a sweep on it, and parts of it that are killed."""

import json
import signal
import ssl
from collections.abc import Iterator
from typing import Any

import httpx
import psutil
import pytest
import services
import team_setup
from checkouts import ROOT, Checkout
from services import Running
from serving_kit import digits, inference_request
from team_setup import GUARD, Prefect
from waiting import WAIT_SECONDS, wait_until

pytestmark = [pytest.mark.slow, pytest.mark.team]

SERVERS = 2


@pytest.fixture(scope="module")
def checkout() -> Iterator[Checkout]:
    with team_setup.team_checkout(trials=0) as made:
        yield made


def test_a_retraining_on_a_teams_servers_survives_that_prefect_is_killed(checkout: Checkout) -> None:
    with services.running(checkout, "team-up") as team:
        variables = team_setup.environment(checkout)
        member = team_setup.member(checkout)
        retrain_while_prefect_is_killed(team, Prefect(variables))
        shown = json.loads(member.run("status", "--json").stdout)
        assert shown["champion"]["version"] == 1
        servers_answer_though_one_is_killed(team, checkout)
        prometheus_knows_the_servers(team)
        swept = member.run("sweep", "--families", "linear,mlp")
        assert f"working on the Dask cluster at {variables['DASK_SCHEDULER_ADDRESS']}: 2 workers" in swept.stderr
        no_secret_is_shown(checkout, team)
        assert team.stop() == []
    with services.running(checkout, "team-up") as again:
        assert json.loads(member.run("status", "--json").stdout)["champion"] == shown["champion"]
        wait_until(lambda: predict(again, checkout).is_success, again.process)
        assert again.stop(signal.SIGTERM) == []


def retrain_while_prefect_is_killed(team: Running, prefect: Prefect) -> None:
    run = prefect.start("retrain/weekly")
    wait_until(lambda: prefect.run(run)["state_type"] == "RUNNING", team.process)
    lease = prefect.run(run)["state"]["state_details"]["deployment_concurrency_lease_id"]
    assert lease
    flow = services.process_of(run, psutil.Process(team.process.pid))
    assert flow
    flow.suspend()  # so that it does not end meanwhile
    team_setup.part(team, "prefect", "server", "start").kill()
    # The place of the run is still its own: a run ends as crashed when it cannot renew its lease.
    wait_until(lambda: prefect.run(run)["state_type"] == "RUNNING", team.process)
    prefect.ask("POST", f"v2/concurrency_limits/leases/{lease}/renew", json={"lease_duration": 300})
    flow.resume()
    wait_until(lambda: prefect.run(run)["state_type"] in ("COMPLETED", "FAILED", "CRASHED"), team.process)
    assert prefect.run(run)["state_name"] == "Completed"


def predict(team: Running, checkout: Checkout) -> httpx.Response:
    context = ssl.create_default_context(cafile=checkout.folder / "var/team/nginx/certificate.pem")
    url = f"{address(team, 'nginx')}/v2/models/digits-classifier/infer"
    return httpx.post(url, json=inference_request(digits()[0][:1]), verify=context)


def address(team: Running, name: str) -> str:
    (found,) = (line.split()[-1] for line in team.output.splitlines() if line.strip().startswith(f"{name}  "))
    return found


def servers_answer_though_one_is_killed(team: Running, checkout: Checkout) -> None:
    wait_until(lambda: predict(team, checkout).is_success, team.process)
    servers = [process for process in team.family if "serving" in process.cmdline() and "-m" in process.cmdline()]
    workers = [process for process in servers if GUARD not in process.cmdline()]
    assert len(workers) >= SERVERS
    workers[0].kill()
    for _ in range(20):
        assert predict(team, checkout).json()["model_version"] == "1"


def prometheus_knows_the_servers(team: Running) -> None:
    prometheus = address(team, "Prometheus")

    def query(expression: str) -> list[Any]:
        answer = httpx.get(f"{prometheus}/api/v1/query", params={"query": expression}, timeout=WAIT_SECONDS)
        result: list[Any] = answer.raise_for_status().json()["data"]["result"]
        return result

    wait_until(lambda: len(query('up{job="mnistflow-server"} == 1')) == SERVERS, team.process)
    wait_until(lambda: query('mnistflow_champion_version{job="mnistflow-server"} == 1'), team.process)
    rules = httpx.get(f"{prometheus}/api/v1/rules", timeout=WAIT_SECONDS).json()["data"]["groups"]
    assert [rule["health"] for group in rules for rule in group["rules"] if rule["health"] == "err"] == []
    board = json.loads((ROOT / "deploy/chart/monitoring/dashboards/serving.json").read_text())
    for panel in board["panels"]:
        for target in panel["targets"]:
            query(target["expr"].replace("$model", ".*"))


def no_secret_is_shown(checkout: Checkout, team: Running) -> None:
    secrets = json.loads((checkout.folder / "var/team/secrets.json").read_text()).values()
    logs = "".join(path.read_text(errors="replace") for path in checkout.folder.glob("var/team/logs/*"))
    commands = "".join(" ".join(process.cmdline()) for process in team.family)
    for secret in secrets:
        assert secret not in logs
        assert secret not in commands
        assert secret not in team.output
