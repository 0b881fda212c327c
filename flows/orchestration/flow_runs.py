"""Flow runs of deployments: which process has each, and the end of those whose process has died.

A deployment's concurrency limit of one is a slot that a run holds until it ends. A process that is killed reports no
end, so its run would hold the slot, and Prefect would cancel all later ones. Therefore the process of each run is
recorded in the run's labels: by the runner as soon as it has started that process, when the run is still pending, and
by the flow itself, which may have been started by a worker of a Prefect work pool. A runner at its start and every few
seconds, and a flow at its start, mark runs whose process is dead as crashed.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from threading import Event, Thread
from typing import TYPE_CHECKING
from uuid import UUID

import httpx
import psutil

from flows.orchestration import notifications
from flows.orchestration.notifications import Notification
from mnistflow.process_identity import ProcessIdentity
from mnistflow.tracking.runs import FLOW_RUN_URL

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

logger = logging.getLogger("mnistflow.schedules")

LABEL = "mnistflow.process."
RUN_ID_VARIABLE = "PREFECT__FLOW_RUN_ID"  # environment variable of the process of a flow run
RECORD_SECONDS = 1.0
LOOK_SECONDS = 10.0
# A run is pending while its process starts. Prefect reserves the slot of a pending run for the same time.
PENDING_TIMEOUT = timedelta(minutes=5)
CLOCK_DIFFERENCE = timedelta(minutes=1)  # between this machine and that of the server


@contextmanager
def api_client(url: str) -> Iterator[SyncPrefectClient]:
    """Yield a client of the Prefect API at this address."""
    from prefect.client.orchestration import get_client
    from prefect.settings import PREFECT_API_URL, temporary_settings

    with temporary_settings({PREFECT_API_URL: url}), get_client(sync_client=True) as client:
        yield client


def begin() -> None:
    """Record this process as that of the current flow run, and close lost runs, if the run belongs to a deployment."""
    from prefect import runtime
    from prefect.client.orchestration import get_client
    from prefect.context import FlowRunContext

    # Not `runtime.deployment.id`, which asks the API where a run has no deployment.
    context = FlowRunContext.get()
    if context and context.flow_run and context.flow_run.deployment_id:
        with get_client(sync_client=True) as client:
            _record_process(client, context.flow_run.id, ProcessIdentity.own())
            close_lost(client, [runtime.deployment.name])


def tags() -> dict[str, str]:
    """Return tags for the MLflow run of the current flow run: its id, and the address of its page if there is a UI."""
    from prefect.runtime import flow_run

    found = {"prefect.flow_run_id": str(flow_run.id), "prefect.flow_run_name": str(flow_run.name)}
    page = _page(found["prefect.flow_run_id"])
    return {**found, FLOW_RUN_URL: page} if page else found


def _page(flow_run: str) -> str | None:
    """Return the address of a flow run's page; None if the server has no UI, as that of a single command."""
    from prefect import settings
    from prefect.utilities.urls import url_for

    page = url_for("flow-run", obj_id=flow_run)
    is_configured = "PREFECT_UI_URL" in os.environ
    if not page or is_configured or settings.PREFECT_API_URL.value().startswith(settings.PREFECT_CLOUD_API_URL.value()):
        return page or None
    try:
        answer = httpx.get(f"{settings.PREFECT_UI_URL.value()}/ui-settings")
        # Older servers do not list their UIs.
        return page if answer.is_success and answer.json().get("available_uis", True) else None
    except (httpx.HTTPError, ValueError):
        return None


def close_lost(client: SyncPrefectClient, deployments: Sequence[str], alone: bool = False) -> None:
    """Mark as crashed the runs whose process has died, so that they free their deployment's concurrency slot.

    Args:
        deployments: names of the deployments to look at.
        alone: nothing else runs these deployments, and this process runs nothing yet: all runs under way are lost.
    """
    from prefect.states import Crashed

    for run in _under_way(client, deployments) if alone else lost(client, deployments):
        logger.warning("the process of flow run %s has died: the run is marked as crashed", run.name)
        client.set_flow_run_state(run.id, Crashed(message="The process of this run has died."), force=True)
        text = f"failed: its process has died\nFlow run: {run.name}"
        notifications.send(Notification("failed", "schedules", text, str(run.id)), str(client.api_url))


def lost(client: SyncPrefectClient, deployments: Sequence[str]) -> list[FlowRun]:
    """Return the runs whose process has died, or was not started in time."""
    return [run for run in _under_way(client, deployments) if _is_lost(run)]


def orphaned_slots(client: SyncPrefectClient, deployments: Sequence[str]) -> list[str]:
    """Return the names of limits of deployments whose slots are taken although no run is under way."""
    if not deployments or _under_way(client, deployments):
        return []
    from prefect.client.schemas import filters

    known = client.read_deployments(
        deployment_filter=filters.DeploymentFilter(name=filters.DeploymentFilterName(any_=list(deployments)))
    )
    limits = [found.global_concurrency_limit for found in known if found.global_concurrency_limit]
    return [limit.name for limit in limits if limit.active_slots]


@contextmanager
def watched(url: str, deployments: Sequence[str], on_look: Callable[[], None]) -> Iterator[None]:
    """Record the processes of the flow runs that this process starts in the block, and close lost runs meanwhile.

    Args:
        url: of the Prefect API.
        deployments: names of the deployments to look at.
        on_look: called every few seconds.
    """
    ended = Event()
    watch = Thread(target=_watch, args=(url, deployments, on_look, ended), daemon=True)
    watch.start()
    try:
        yield
    finally:
        ended.set()


def _watch(url: str, deployments: Sequence[str], on_look: Callable[[], None], ended: Event) -> None:
    recorded: set[tuple[UUID, ProcessIdentity]] = set()
    rounds = 0
    while not ended.wait(RECORD_SECONDS):
        rounds += 1
        try:
            started = set(_own_runs()) - recorded
            is_time_to_look = rounds % round(LOOK_SECONDS / RECORD_SECONDS) == 0
            if not started and not is_time_to_look:
                continue
            with api_client(url) as client:
                for run_id, process in started:
                    _record_process(client, run_id, process)
                    recorded.add((run_id, process))
                if is_time_to_look:
                    close_lost(client, deployments)
                    on_look()
        except Exception as error:  # of the API, which may be starting again: the next round repeats all of it
            logger.warning("cannot check the flow runs: %s", error)


def _own_runs() -> Iterator[tuple[UUID, ProcessIdentity]]:
    """Yield the flow runs that child processes of this one have, with their processes."""
    for child in psutil.Process().children():
        with suppress(psutil.Error, OSError, KeyError, ValueError):
            yield UUID(child.environ()[RUN_ID_VARIABLE]), ProcessIdentity.of(child.pid)


def _record_process(client: SyncPrefectClient, run_id: UUID, process: ProcessIdentity) -> None:
    client.update_flow_run_labels(run_id, {f"{LABEL}{name}": value for name, value in asdict(process).items()})


def _under_way(client: SyncPrefectClient, deployments: Sequence[str]) -> list[FlowRun]:
    from prefect.client.schemas import filters
    from prefect.client.schemas.objects import StateType

    states = [StateType.PENDING, StateType.RUNNING, StateType.CANCELLING]
    return client.read_flow_runs(
        flow_run_filter=filters.FlowRunFilter(
            state=filters.FlowRunFilterState(type=filters.FlowRunFilterStateType(any_=states))
        ),
        deployment_filter=filters.DeploymentFilter(name=filters.DeploymentFilterName(any_=list(deployments))),
    )


def _is_lost(run: FlowRun) -> bool:
    """Return whether the process of a run has died, or whether none was started in time."""
    recorded = {name.removeprefix(LABEL): value for name, value in run.labels.items() if name.startswith(LABEL)}
    state = run.state
    if state is None or not state.is_pending():
        return bool(recorded) and ProcessIdentity.from_json(recorded).has_died()
    if recorded and state.timestamp - datetime.fromtimestamp(float(recorded["started"]), UTC) < CLOCK_DIFFERENCE:
        return ProcessIdentity.from_json(recorded).has_died()
    # Pending without a process, or since the process of an earlier attempt.
    return datetime.now(UTC) - state.timestamp > PENDING_TIMEOUT
