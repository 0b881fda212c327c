"""Deployments of prefect.yaml: their schedules, and the process that runs them when they are due.

Of the runs that came due while no runner was running, one is executed late: the deployments' concurrency limit of one
cancels the others.
"""

from __future__ import annotations

import os
from base64 import b64encode
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import httpx
import psutil
import yaml
from cronsim import CronSim, CronSimError
from pydantic import BaseModel, ValidationError, field_validator

from flows.orchestration import flow_runs
from mnistflow import files
from mnistflow.errors import ConfigError
from mnistflow.paths import Paths

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import DeploymentSchedule
    from prefect.client.schemas.responses import DeploymentResponse
    from prefect.deployments.runner import RunnerDeployment

API_VARIABLE = "PREFECT_API_URL"
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


class Times(BaseModel):
    """An entry of `schedules` in prefect.yaml."""

    cron: str
    timezone: str = "UTC"
    active: bool = True

    @field_validator("timezone")
    @classmethod
    def _is_a_timezone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, ValueError, OSError):
            raise ValueError(f"{name!r} is not a time zone") from None
        return name

    @field_validator("cron")
    @classmethod
    def _is_a_cron_expression(cls, expression: str) -> str:
        try:
            CronSim(expression, datetime.now(UTC))
        except CronSimError as error:
            raise ValueError(f"{expression!r} is not a cron expression: {error}") from None
        return expression

    def after(self, moment: datetime) -> datetime:
        """Return the next time after `moment`, in UTC."""
        return next(CronSim(self.cron, moment.astimezone(ZoneInfo(self.timezone)))).astimezone(UTC)


class Deployment(BaseModel):
    """An entry of `deployments` in prefect.yaml, without the keys that only workers use."""

    name: str
    entrypoint: str
    description: str | None = None
    tags: list[str] = []
    concurrency_limit: int | dict[str, Any] | None = None
    schedules: list[Times] = []

    @property
    def full_name(self) -> str:
        """Name of the flow, which Prefect derives from that of the function, and of the deployment."""
        return f"{self.entrypoint.rpartition(':')[2].replace('_', '-')}/{self.name}"


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
    """

    paused: bool
    status: str | None
    schedules: list[KnownSchedule]


class _PrefectYaml(BaseModel):
    deployments: list[Deployment]


def schedules(paths: Paths) -> list[Schedule]:
    """Return the schedules of prefect.yaml and whether a runner will execute them.

    Raises:
        ConfigError: prefect.yaml is missing or not valid.
    """
    deployments = read(paths)
    known = _known(running_server(paths), deployments)
    now = datetime.now(UTC)
    return [
        Schedule(
            deployment=deployment.full_name,
            cron=times.cron,
            timezone=times.timezone,
            next_run=times.after(now).isoformat(timespec="minutes"),
            state=known if isinstance(known, str) else _state(known[deployment.full_name], times),
        )
        for deployment in deployments
        for times in deployment.schedules
    ]


def read(paths: Paths) -> list[Deployment]:
    """Return the deployments of prefect.yaml.

    Raises:
        ConfigError: prefect.yaml is missing or not valid.
    """
    path = paths.checkout / "prefect.yaml"
    try:
        return _PrefectYaml.model_validate(yaml.safe_load(path.read_text(encoding="utf-8"))).deployments
    except ValidationError as error:
        first = error.errors()[0]
        problem = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        problem = str(error)
    raise ConfigError(f"{path}: {problem}", "Correct it, or restore it with git.")


def running_server(paths: Paths) -> str | None:
    """Return the address of the Prefect API in use: the configured one, or that of a running `schedule` or `up`."""
    return os.environ.get(API_VARIABLE) or _noted_server(paths)


def claim(paths: Paths) -> AbstractContextManager[bool]:
    """Lock the schedules of this checkout for the block; yields False if another process holds them."""
    return files.claim(_server_note(paths).with_suffix(".lock"))


def _noted_server(paths: Paths) -> str | None:
    """Return the address of the Prefect API that a running `schedule` or `up` of this checkout uses."""
    note = _server_note(paths)
    if not note.is_file():
        return None
    server = files.read_json(note)
    return str(server["url"]) if psutil.pid_exists(server["process"]) and answers(server["url"]) else None


def note_server(paths: Paths, url: str) -> None:
    """Write down the Prefect server of this process for other commands."""
    files.write_json(_server_note(paths), {"url": url, "process": os.getpid()})


def forget_server(paths: Paths) -> None:
    """Delete what `note_server` has written: the server has stopped."""
    files.remove(_server_note(paths))


def answers(url: str) -> bool:
    """Return whether the Prefect API at this address is healthy."""
    # Certificates take 40 ms of processor time to load, and a command that starts a server asks ten times a second.
    try:
        return httpx.get(f"{url}/health", timeout=2, verify=url.startswith("https:")).is_success
    except httpx.HTTPError:
        return False


def are_served(paths: Paths, url: str) -> bool:
    """Return whether a runner polls the Prefect API for due runs of every deployment."""
    known = _known(url, read(paths))
    return not isinstance(known, str) and all(found and found.status == "READY" for found in known.values())


def serve(paths: Paths, alone: bool) -> None:
    """Run the deployments when they are due, on the Prefect server of `PREFECT_API_URL`, until a signal arrives.

    Must be called in the checkout's folder: the entry points of the deployments are relative to it.

    Args:
        alone: nothing else runs these deployments, so that all runs that the server believes to be under way are lost.
    """
    import prefect

    url, deployments = os.environ[API_VARIABLE], read(paths)
    names = [deployment.name for deployment in deployments]
    with flow_runs.api_client(url) as client:
        flow_runs.close_lost(client, names, alone=alone)
        runnable = [_runnable(deployment, _find(client, deployment)) for deployment in deployments]
    with flow_runs.watched(url, names):
        prefect.serve(*runnable, pause_on_shutdown=False)


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
    # `prefect deploy` may have assigned the deployment to a work pool, whose runs this runner would not get.
    runnable.work_pool_name = None
    return runnable


def _known(
    url: str | None, deployments: Sequence[Deployment]
) -> Mapping[str, DeploymentResponse | KnownDeployment | None] | str:
    """Return the deployments as the Prefect API at `url` has them, or the reason why it does not answer.

    The API is asked directly, because importing Prefect takes longer than all else that a status does. Prefect's own
    client is the fallback: it knows credentials and certificates of Prefect's profiles.
    """
    if not url:
        return "no scheduler is running: `mnistflow schedule` starts one"
    if not answers(url):
        return f"{url} does not answer: start that server, or unset {API_VARIABLE}"
    try:
        with httpx.Client(headers=_authorization(), timeout=API_SECONDS) as http:
            return {deployment.full_name: _ask(http, url, deployment) for deployment in deployments}
    except (httpx.HTTPError, ValidationError):
        with flow_runs.api_client(url) as client:
            return {deployment.full_name: _find(client, deployment) for deployment in deployments}


def _authorization() -> dict[str, str]:
    if key := os.environ.get("PREFECT_API_KEY"):
        return {"Authorization": f"Bearer {key}"}
    if pair := os.environ.get("PREFECT_API_AUTH_STRING"):
        return {"Authorization": f"Basic {b64encode(pair.encode()).decode()}"}
    return {}


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


def _state(known: DeploymentResponse | KnownDeployment | None, times: Times) -> str:
    if not known or not any(_is_the_same(schedule, times) for schedule in known.schedules):
        return "the server does not have this schedule of prefect.yaml: restart `mnistflow schedule`"
    if known.paused or _is_paused(known, times):
        return "paused"
    if known.status != "READY":
        return "no runner executes it: start `mnistflow schedule`, or a worker of its pool"
    return "scheduled"


def _is_paused(known: DeploymentResponse | KnownDeployment | None, times: Times) -> bool:
    return known is not None and any(
        not schedule.active for schedule in known.schedules if _is_the_same(schedule, times)
    )


def _is_the_same(schedule: DeploymentSchedule | KnownSchedule, times: Times) -> bool:
    """Return whether a schedule of the server is this one of prefect.yaml."""
    known = schedule.schedule
    return (getattr(known, "cron", None), getattr(known, "timezone", None)) == (times.cron, times.timezone)


def _server_note(paths: Paths) -> Path:
    return paths.var / "prefect/server.json"
