"""Diagnosis of schedules and flow runs: dead processes, slots without a run, schedules that no runner executes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from flows.orchestration import deployments, flow_runs, prefect_yaml, server_address
from flows.orchestration.deployments import ScheduleState
from mnistflow.paths import Paths
from mnistflow.upkeep.diagnosis import REPAIR
from mnistflow.upkeep.problems import Problem


def diagnose(paths: Paths) -> Iterator[Problem]:
    """Yield what is wrong with the schedules of a checkout, and with the flow runs of its deployments.

    Yields nothing for a checkout whose schedules have never run.

    Raises:
        ConfigError: prefect.yaml is missing or not valid.
    """
    if not server_address.is_expected(paths):
        return
    names: dict[ScheduleState, list[str]] = {}
    for schedule in deployments.schedules(paths):
        if schedule.state.label == "problem":
            names.setdefault(schedule.state, []).append(schedule.deployment)
    for state, affected in names.items():
        yield Problem("schedule", f"{', '.join(affected)}: {state.problem}", f"{state.fix}.")
    url = server_address.running_server(paths)
    if url and server_address.answers(url):
        yield from _flow_runs(url, [deployment.name for deployment in prefect_yaml.read(paths)])


def _flow_runs(url: str, names: Sequence[str]) -> Iterator[Problem]:
    with flow_runs.api_client(url) as client:
        lost = [str(run.name) for run in flow_runs.lost(client, names)]
        slots = flow_runs.orphaned_slots(client, names)
    for name in lost:
        yield Problem(
            "flow run",
            f"{name} is under way in Prefect, but its process has died",
            f"{REPAIR} marks it as crashed.",
            partial(_close_lost, url, names),
        )
    for slot in slots:
        yield Problem(
            "slot",
            f"{slot} is taken in Prefect, but no run is under way",
            f"{REPAIR} frees it.",
            partial(_free, url, slot),
        )


def _close_lost(url: str, names: Sequence[str]) -> None:
    with flow_runs.api_client(url) as client:
        flow_runs.close_lost(client, names)


def _free(url: str, slot: str) -> None:
    from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

    with flow_runs.api_client(url) as client:
        client.update_global_concurrency_limit(slot, GlobalConcurrencyLimitUpdate(active_slots=0))
