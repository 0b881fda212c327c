"""Deployments of prefect.yaml: their schedules, and the process that runs them when they are due.

Of the runs that came due while no runner was running, one is executed late: the deployments' concurrency limit of one
cancels the others.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
from pydantic import BaseModel, ValidationError

from flows.orchestration import flow_runs, prefect_yaml, server_address
from flows.orchestration.prefect_yaml import Deployment, Times
from flows.orchestration.server_address import API_VARIABLE
from mnistflow.paths import Paths

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import DeploymentSchedule
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.deployments.runner import RunnerDeployment

API_SECONDS = 10


@dataclass(frozen=True)
class Schedule:
    """When a deployment runs next.

    Attributes:
        next_run: ISO 8601, UTC.
        state: whether a runner or worker will execute that run, and what to do if none will.
    """

    deployment: str
    cron: str
    timezone: str
    next_run: str
    state: str


class KnownTimes(BaseModel):
    """What a schedule of the Prefect API is made of; one by intervals has no cron expression."""

    cron: str | None = None
    timezone: str | None = None


class KnownSchedule(BaseModel):
    """A schedule as the Prefect API has it."""

    schedule: KnownTimes
    active: bool


class KnownDeployment(BaseModel):
    """A deployment as the Prefect API has it, as far as `mnistflow status` reports it.

    Attributes:
        status: `READY` while a runner polls for its runs.
        path: folder that its flow is loaded from.
        pull_steps: what a worker of a work pool does before it loads the flow.
    """

    paused: bool
    status: str | None
    schedules: list[KnownSchedule]
    path: str | None = None
    pull_steps: list[dict[str, Any]] | None = None


def schedules(paths: Paths) -> list[Schedule]:
    """Return the schedules of prefect.yaml and whether a runner will execute them.

    Raises:
        ConfigError: prefect.yaml is missing or not valid.
    """
    deployments = prefect_yaml.read(paths)
    server = server_address.running_server(paths)
    known = _known(server, deployments) if server else _not_running(paths)
    now = datetime.now(UTC)
    return [
        Schedule(
            deployment=deployment.full_name,
            cron=times.cron,
            timezone=times.timezone,
            next_run=times.after(now).isoformat(timespec="minutes"),
            state=known if isinstance(known, str) else _state(known[deployment.full_name], times, paths.checkout),
        )
        for deployment in deployments
        for times in deployment.schedules
    ]


def moved(paths: Paths, url: str) -> list[str]:
    """Return the folders, other than this checkout, that the deployments of prefect.yaml have run in until now."""
    known = _known(url, prefect_yaml.read(paths))
    folders = [] if isinstance(known, str) else [_elsewhere(found, paths.checkout) for found in known.values() if found]
    return sorted({folder for folder in folders if folder})


def are_served(paths: Paths, url: str) -> bool:
    """Return whether a runner polls the Prefect API for due runs of every deployment, to run them in this checkout."""
    known = _known(url, prefect_yaml.read(paths))
    return not isinstance(known, str) and all(
        found and found.status == "READY" and _path_is_here(found, paths.checkout) for found in known.values()
    )


def serve(paths: Paths, alone: bool) -> None:
    """Run the deployments when they are due, on the Prefect server of `PREFECT_API_URL`, until a signal arrives.

    Must be called in the checkout's folder: the entry points of the deployments are relative to it.

    Args:
        alone: nothing else runs these deployments, so that all runs that the server believes to be under way are lost.
    """
    import prefect

    url, deployments = os.environ[API_VARIABLE], prefect_yaml.read(paths)
    names = [deployment.name for deployment in deployments]
    with flow_runs.api_client(url) as client:
        flow_runs.close_lost(client, names, alone=alone)
        known = [_find(client, deployment) for deployment in deployments]
        _load_flows_from(paths.checkout, known, client)
        runnable = [_runnable(*pair) for pair in zip(deployments, known, strict=True)]
    with flow_runs.watched(url, names):
        prefect.serve(*runnable, pause_on_shutdown=False)


def _load_flows_from(checkout: Path, known: Sequence[DeploymentResponse | None], client: SyncPrefectClient) -> None:
    """Correct the folders of deployments, which Prefect's runner leaves as they were when a deployment was new.

    A run copies all that is in the folder of its deployment into its own.
    """
    from prefect.client.schemas.actions import DeploymentUpdate

    for deployment in known:
        if deployment and _elsewhere(deployment, checkout):
            client.update_deployment(deployment.id, DeploymentUpdate(path=str(checkout)))


def _runnable(deployment: Deployment, known: DeploymentResponse | None) -> RunnerDeployment:
    """Return a deployment for Prefect's runner. Schedules that are paused at the server stay paused."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig
    from prefect.deployments.runner import RunnerDeployment
    from prefect.schedules import Cron

    limit = deployment.concurrency_limit
    runnable = RunnerDeployment.from_entrypoint(
        deployment.entrypoint,
        name=deployment.name,
        description=deployment.description,
        tags=deployment.tags,
        paused=known.paused if known else False,
        schedules=[
            Cron(times.cron, timezone=times.timezone, active=times.active and not _is_paused(known, times))
            for times in deployment.schedules
        ],
        concurrency_limit=ConcurrencyLimitConfig(**limit) if isinstance(limit, dict) else limit,
    )
    schema = runnable._parameter_openapi_schema
    schema.properties = {name: form_field(field) for name, field in schema.properties.items()}
    # `prefect deploy` may have assigned the deployment to a work pool, whose runs this runner would not get.
    runnable.work_pool_name = None
    return runnable


def form_field(field: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an optional parameter as that of a value without a default.

    Prefect draws an empty field for it, which is not submitted, and for `int | None` a choice between int and None.
    """
    values = [kind for kind in field.get("anyOf", []) if kind != {"type": "null"}]
    if len(values) != 1 or field.get("default") is not None:
        return field
    return {**values[0], **{name: value for name, value in field.items() if name not in ("anyOf", "default")}}


def _known(
    url: str, deployments: Sequence[Deployment]
) -> Mapping[str, DeploymentResponse | KnownDeployment | None] | str:
    """Return the deployments as the Prefect API at `url` has them, or the reason why it does not answer.

    The API is asked directly, because importing Prefect takes longer than all else that a status does. Prefect's own
    client is the fallback: it knows credentials and certificates of Prefect's profiles.
    """
    if not server_address.answers(url):
        return f"{url} does not answer: start that server, or unset {API_VARIABLE}"
    try:
        with httpx.Client(headers=server_address.authorization(), timeout=API_SECONDS) as http:
            return {deployment.full_name: _ask(http, url, deployment) for deployment in deployments}
    except (httpx.HTTPError, ValidationError):
        with flow_runs.api_client(url) as client:
            return {deployment.full_name: _find(client, deployment) for deployment in deployments}


def _ask(http: httpx.Client, url: str, deployment: Deployment) -> KnownDeployment | None:
    response = http.get(f"{url}/deployments/name/{deployment.full_name}")
    if response.status_code == httpx.codes.NOT_FOUND:
        return None
    return KnownDeployment.model_validate_json(response.raise_for_status().content)


def _find(client: SyncPrefectClient, deployment: Deployment) -> DeploymentResponse | None:
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_deployment_by_name(deployment.full_name)
    except ObjectNotFound:
        return None


def _not_running(paths: Paths) -> str:
    former = server_address.former_checkout(paths)
    place = f" (the schedules belonged to {former}, and will run here)" if former else ""
    return f"no scheduler is running: `mnistflow schedule` starts one{place}"


def _state(known: DeploymentResponse | KnownDeployment | None, times: Times, checkout: Path) -> str:
    if not known or not any(_is_the_same(schedule, times) for schedule in known.schedules):
        return "the server does not have this schedule of prefect.yaml: restart `mnistflow schedule`"
    if folder := _elsewhere(known, checkout):
        return f"runs in {folder}, which is not this checkout: `mnistflow schedule` moves it here"
    if known.paused or _is_paused(known, times):
        return "paused"
    if known.status != "READY":
        return "no runner executes it: start `mnistflow schedule`, or a worker of its pool"
    return "scheduled"


def _elsewhere(known: DeploymentResponse | KnownDeployment, checkout: Path) -> str | None:
    """Return the folder that a deployment runs in, if that is another one than this checkout."""
    steps = [settings for step in known.pull_steps or () for settings in step.values()]
    folder = next((str(settings["directory"]) for settings in steps if "directory" in settings), known.path)
    return folder if folder and Path(folder).is_absolute() and Path(folder) != checkout else None


def _path_is_here(known: DeploymentResponse | KnownDeployment, checkout: Path) -> bool:
    path = Path(known.path or "")
    return not path.is_absolute() or path == checkout


def _is_paused(known: DeploymentResponse | KnownDeployment | None, times: Times) -> bool:
    return known is not None and any(
        not schedule.active for schedule in known.schedules if _is_the_same(schedule, times)
    )


def _is_the_same(schedule: DeploymentSchedule | KnownSchedule, times: Times) -> bool:
    """Return whether a schedule of the server is this one of prefect.yaml."""
    known = schedule.schedule
    return (getattr(known, "cron", None), getattr(known, "timezone", None)) == (times.cron, times.timezone)
