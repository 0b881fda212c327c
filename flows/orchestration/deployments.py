"""Deployments of prefect.yaml: their schedules, and the process that runs them when they are due.

Of the runs that came due while no runner was running, one is executed late: the deployments' concurrency limit of one
cancels the others.
"""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import httpx
from pydantic import BaseModel, ValidationError

from flows.orchestration import flow_runs, prefect_yaml, server_address
from flows.orchestration.prefect_yaml import CronSchedule, Deployment
from flows.orchestration.server_address import API_VARIABLE
from mnistflow.errors import ConfigError
from mnistflow.paths import Paths

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import DeploymentSchedule
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.deployments.runner import RunnerDeployment

logger = logging.getLogger("mnistflow.schedules")

API_SECONDS = 10


@dataclass(frozen=True)
class ScheduleState:
    """Whether a runner or worker will execute the next run of a schedule.

    Attributes:
        label: `problem` if none will.
        problem: why none will.
        fix: what the user can do about it.
    """

    label: Literal["scheduled", "paused", "problem"]
    problem: str = ""
    fix: str = ""

    def __str__(self) -> str:
        return f"{self.problem}: {self.fix}" if self.label == "problem" else self.label


@dataclass(frozen=True)
class Schedule:
    """When a deployment runs next.

    Attributes:
        next_run: ISO 8601, UTC.
    """

    deployment: str
    cron: str
    timezone: str
    next_run: str
    state: ScheduleState


class ServerCron(BaseModel):
    """When a schedule of the Prefect API is due; one by intervals has no cron expression."""

    cron: str | None = None
    timezone: str | None = None


class ServerSchedule(BaseModel):
    """A schedule as the Prefect API has it."""

    schedule: ServerCron
    active: bool


class ServerDeployment(BaseModel):
    """A deployment as the Prefect API has it, as far as `mnistflow status` reports it.

    Attributes:
        status: `READY` while a runner polls for its runs.
        path: folder that its flow is loaded from.
        pull_steps: what a worker of a work pool does before it loads the flow.
    """

    paused: bool
    status: str | None
    schedules: list[ServerSchedule]
    path: str | None = None
    pull_steps: list[dict[str, Any]] | None = None


def schedules(paths: Paths) -> list[Schedule]:
    """Return the schedules of prefect.yaml and whether a runner will execute them.

    Raises:
        ConfigError: prefect.yaml is missing or not valid.
    """
    deployments = prefect_yaml.read(paths)
    server = server_address.running_server(paths)
    found = _fetch_deployments(server, deployments) if server else None
    now = datetime.now(UTC)
    return [
        Schedule(
            deployment=deployment.full_name,
            cron=schedule.cron,
            timezone=schedule.timezone,
            next_run=schedule.next_after(now).isoformat(timespec="minutes"),
            state=_without_server(paths, server)
            if found is None
            else _state(found[deployment.full_name], schedule, paths.checkout),
        )
        for deployment in deployments
        for schedule in deployment.schedules
    ]


def folders_elsewhere(paths: Paths, url: str) -> dict[str, bool]:
    """Return the folders, other than this checkout, that the deployments of prefect.yaml run in.

    Returns:
        Whether a runner of each folder polls the Prefect API for due runs. Prefect notices within a minute or two that
        a runner has ended.
    """
    found = _fetch_deployments(url, prefect_yaml.read(paths)) or {}
    is_polled: dict[str, bool] = {}
    for deployment in found.values():
        if deployment and (folder := _elsewhere(deployment, paths.checkout)):
            is_polled[folder] = is_polled.get(folder, False) or deployment.status == "READY"
    return dict(sorted(is_polled.items()))


def are_served(paths: Paths, url: str) -> bool:
    """Return whether a runner polls the Prefect API for due runs of every deployment, to run them in this checkout."""
    found = _fetch_deployments(url, prefect_yaml.read(paths))
    return found is not None and all(
        deployment and deployment.status == "READY" and _path_is_here(deployment, paths.checkout)
        for deployment in found.values()
    )


def serve(paths: Paths, alone: bool) -> None:
    """Run the deployments when they are due, on the Prefect server of `PREFECT_API_URL`, until a signal arrives.

    Must be called in the checkout's folder: the entry points of the deployments are relative to it.

    Args:
        alone: nothing else runs these deployments, so that all runs that the server believes to be under way are lost.

    Raises:
        ConfigError: prefect.yaml gives a flow a parameter that it does not have.
    """
    import prefect

    url, deployments = os.environ[API_VARIABLE], prefect_yaml.read(paths)
    names = [deployment.name for deployment in deployments]
    with flow_runs.api_client(url) as client:
        flow_runs.close_lost(client, names, alone=alone)
        known = [_find(client, deployment) for deployment in deployments]
        _load_flows_from(paths.checkout, known, client)
        runnable = [_runnable(*pair) for pair in zip(deployments, known, strict=True)]
    with flow_runs.watched(url, names, partial(_end_if_moved, paths, url)):
        prefect.serve(*runnable, pause_on_shutdown=False)


def _end_if_moved(paths: Paths, url: str) -> None:
    """End this process if the deployments run in another checkout now.

    Prefect gives the runs to any runner that polls, which copies the folder of the deployment over its own.
    """
    if folders := folders_elsewhere(paths, url):
        logger.error("the schedules run in %s now, so this runner ends", ", ".join(folders))
        os.kill(os.getpid(), signal.SIGTERM)


def _load_flows_from(checkout: Path, known: Sequence[DeploymentResponse | None], client: SyncPrefectClient) -> None:
    """Correct the folders of deployments, which Prefect's runner leaves as they were when a deployment was new.

    A run copies all that is in the folder of its deployment into its own.
    """
    from prefect.client.schemas.actions import DeploymentUpdate

    for deployment in known:
        if deployment and _elsewhere(deployment, checkout):
            client.update_deployment(deployment.id, DeploymentUpdate(path=str(checkout)))


def _runnable(deployment: Deployment, known: DeploymentResponse | None) -> RunnerDeployment:
    """Return a deployment for Prefect's runner. What is paused at the server stays paused."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig
    from prefect.deployments.runner import RunnerDeployment
    from prefect.schedules import Cron

    limit = deployment.concurrency_limit
    runnable = RunnerDeployment.from_entrypoint(
        deployment.entrypoint,
        name=deployment.name,
        version=deployment.version,
        description=deployment.description,
        tags=deployment.tags,
        parameters=deployment.parameters,
        paused=deployment.paused or (known is not None and known.paused),
        schedules=[
            Cron(
                schedule.cron,
                timezone=schedule.timezone,
                active=schedule.active and not _is_paused(known, schedule),
                parameters=schedule.parameters,
                slug=schedule.slug,
            )
            for schedule in deployment.schedules
        ],
        concurrency_limit=ConcurrencyLimitConfig(**limit) if isinstance(limit, dict) else limit,
    )
    schema = runnable._parameter_openapi_schema
    _check_parameters(deployment, schema.properties)
    schema.properties = {name: form_field(field) for name, field in schema.properties.items()}
    # `prefect deploy` may have assigned the deployment to a work pool, whose runs this runner would not get.
    runnable.work_pool_name = None
    return runnable


def _check_parameters(deployment: Deployment, known: Collection[str]) -> None:
    for given in (deployment.parameters, *(schedule.parameters for schedule in deployment.schedules)):
        if unknown := sorted(given.keys() - set(known)):
            raise ConfigError(
                f"prefect.yaml: deployment {deployment.full_name}: the flow has no parameter {', '.join(unknown)}",
                f"It has {', '.join(known)}." if known else "It has none.",
            )


def form_field(field: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of an optional parameter as that of a value without a default.

    Prefect draws an empty field for it, which is not submitted, and for `int | None` a choice between int and None.
    """
    values = [kind for kind in field.get("anyOf", []) if kind != {"type": "null"}]
    if len(values) != 1 or field.get("default") is not None:
        return field
    return {**values[0], **{name: value for name, value in field.items() if name not in ("anyOf", "default")}}


def _fetch_deployments(
    url: str, deployments: Sequence[Deployment]
) -> Mapping[str, DeploymentResponse | ServerDeployment | None] | None:
    """Return the deployments as the Prefect API at `url` has them, by name; None if it does not answer.

    The API is asked directly, because importing Prefect takes longer than all else that a status does. Prefect's own
    client is the fallback: it knows credentials and certificates of Prefect's profiles.
    """
    if not server_address.answers(url):
        return None
    try:
        with httpx.Client(headers=server_address.authorization(), timeout=API_SECONDS) as http:
            return {deployment.full_name: _ask(http, url, deployment) for deployment in deployments}
    except (httpx.HTTPError, ValidationError):
        with flow_runs.api_client(url) as client:
            return {deployment.full_name: _find(client, deployment) for deployment in deployments}


def _ask(http: httpx.Client, url: str, deployment: Deployment) -> ServerDeployment | None:
    response = http.get(f"{url}/deployments/name/{deployment.full_name}")
    if response.status_code == httpx.codes.NOT_FOUND:
        return None
    return ServerDeployment.model_validate_json(response.raise_for_status().content)


def _find(client: SyncPrefectClient, deployment: Deployment) -> DeploymentResponse | None:
    from prefect.exceptions import ObjectNotFound

    try:
        return client.read_deployment_by_name(deployment.full_name)
    except ObjectNotFound:
        return None


def _without_server(paths: Paths, url: str | None) -> ScheduleState:
    """Return the state of all schedules if no Prefect API answers: at `url`, or at all."""
    if url:
        return ScheduleState("problem", f"{url} does not answer", f"start that server, or unset {API_VARIABLE}")
    former = server_address.former_checkout(paths)
    place = f" (the schedules belonged to {former}, and will run here)" if former else ""
    return ScheduleState("problem", "no scheduler is running", f"`mnistflow schedule` starts one{place}")


def _state(
    known: DeploymentResponse | ServerDeployment | None, schedule: CronSchedule, checkout: Path
) -> ScheduleState:
    if not known or not any(_is_the_same(one, schedule) for one in known.schedules):
        problem = "the server does not have this schedule of prefect.yaml"
        return ScheduleState("problem", problem, "restart `mnistflow schedule`")
    if folder := _elsewhere(known, checkout):
        problem = f"runs in {folder}, which is not this checkout"
        return ScheduleState("problem", problem, "`mnistflow schedule` moves it here")
    if known.paused or _is_paused(known, schedule):
        return ScheduleState("paused")
    if known.status != "READY":
        return ScheduleState("problem", "no runner executes it", "start `mnistflow schedule`, or a worker of its pool")
    return ScheduleState("scheduled")


def _elsewhere(known: DeploymentResponse | ServerDeployment, checkout: Path) -> str | None:
    """Return the folder that a deployment runs in, if that is another one than this checkout."""
    steps = [settings for step in known.pull_steps or () for settings in step.values()]
    folder = next((str(settings["directory"]) for settings in steps if "directory" in settings), known.path)
    return folder if folder and Path(folder).is_absolute() and Path(folder) != checkout else None


def _path_is_here(known: DeploymentResponse | ServerDeployment, checkout: Path) -> bool:
    path = Path(known.path or "")
    return not path.is_absolute() or path == checkout


def _is_paused(known: DeploymentResponse | ServerDeployment | None, schedule: CronSchedule) -> bool:
    return known is not None and any(not one.active for one in known.schedules if _is_the_same(one, schedule))


def _is_the_same(known: DeploymentSchedule | ServerSchedule, schedule: CronSchedule) -> bool:
    """Return whether a schedule of the server is this one of prefect.yaml."""
    cron = known.schedule
    return (getattr(cron, "cron", None), getattr(cron, "timezone", None)) == (schedule.cron, schedule.timezone)
