"""A team's set-up as a user starts and stops it: a retraining and a sweep on it, and parts of it that are killed."""

import json
import shlex
import shutil
import signal
import ssl
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import services
from checkouts import QUICK, ROOT, Checkout, make_checkout, write_params
from services import Running
from serving_kit import digits, inference_request
from waiting import WAIT_SECONDS, wait_until

from flows.team import programs

pytestmark = [pytest.mark.slow, pytest.mark.team]

NEEDED = (programs.POSTGRES, programs.NGINX, programs.PROMETHEUS, *programs.PACKAGES)
SERVERS = 2


@pytest.fixture(scope="module")
def checkout() -> Iterator[Checkout]:
    for part in NEEDED:
        if not part.is_installed():
            pytest.skip(f"needs {part.name}: {part.fix}")
    # Not in pytest's folder, which PostgreSQL's user cannot enter.
    with tempfile.TemporaryDirectory(prefix="mnistflow-team-") as folder:
        Path(folder).chmod(0o755)
        with closing(make_checkout(Path(folder) / "checkout", PREFECT_CLIENT_MAX_RETRIES="7")) as made:
            shutil.copytree(ROOT / "deploy", made.folder / "deploy")
            write_params(made, **{**QUICK, "tune.trials": "0"})
            yield made


def environment(checkout: Checkout) -> dict[str, str]:
    """Return the variables that the set-up has written for commands."""
    path = checkout.folder / "var/team/environment"
    assert path.stat().st_mode & 0o077 == 0
    lines = (shlex.split(line)[1].partition("=") for line in path.read_text().splitlines())
    return {name: value for name, _, value in lines}


def part(team: Running, *words: str) -> psutil.Process:
    """Return the process of the set-up, not its guard, whose command line has these words."""
    (found,) = [
        process
        for process in team.family
        if all(word in process.cmdline() for word in words) and "flows.processes.process_guard" not in process.cmdline()
    ]
    return found


class Prefect:
    """Prefect's API of the set-up."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        user, _, password = variables["PREFECT_API_AUTH_STRING"].partition(":")
        self._client = httpx.Client(
            base_url=variables["PREFECT_API_URL"] + "/", auth=(user, password), timeout=WAIT_SECONDS, verify=False
        )

    def ask(self, method: str, path: str, **options: Any) -> Any:
        answer = self._client.request(method, path, **options).raise_for_status()
        return answer.json() if answer.content else None

    def start(self, deployment: str) -> str:
        known = self.ask("GET", f"deployments/name/{deployment}")
        return str(self.ask("POST", f"deployments/{known['id']}/create_flow_run", json={})["id"])

    def run(self, run_id: str) -> dict[str, Any]:
        """Return a flow run; an empty one while the server is away."""
        try:
            found: dict[str, Any] = self.ask("GET", f"flow_runs/{run_id}")
        except httpx.TransportError:
            return {"state_type": ""}
        return found


def test_a_retraining_on_a_teams_servers_survives_that_prefect_is_killed(checkout: Checkout) -> None:
    with services.running(checkout, "team-up") as team:
        variables = environment(checkout)
        member = replace(checkout, environment={**checkout.environment, **variables})
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
    part(team, "prefect", "server", "start").kill()
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
    workers = [process for process in servers if "flows.processes.process_guard" not in process.cmdline()]
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
