"""The deployments of prefect.yaml: their times, and the process that runs them when they are due.

Schedules are in UTC: no run is doubled or lost when clocks change. Of runs that became late while nothing was running,
one is caught up; the others are cancelled by the concurrency limit of one.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import psutil
import yaml
from cronsim import CronSim, CronSimError

from mnistflow.errors import ConfigError
from mnistflow.files import read_json, remove, write_json
from mnistflow.project import Project

if TYPE_CHECKING:
    from prefect import Flow
    from prefect.deployments.runner import RunnerDeployment

API_VARIABLE = "PREFECT_API_URL"


@dataclass(frozen=True)
class Schedule:
    """When a deployment runs next.

    Attributes:
        next_run: ISO 8601, UTC.
        state: whether anything will pick it up, and what to do if not.
    """

    deployment: str
    cron: str
    next_run: str
    state: str


def schedules(project: Project) -> list[Schedule]:
    """Return the schedules of prefect.yaml and whether something will run them.

    Raises:
        ConfigError: prefect.yaml is missing or not valid.
    """
    url = running_server(project)
    now = datetime.now(UTC)
    return [
        Schedule(f"{_flow_name(entry)}/{entry['name']}", cron, _next(cron, now), _state(url, entry))
        for entry in _read(project)
        for cron in _crons(entry)
    ]


def running_server(project: Project) -> str | None:
    """Return the address of the Prefect API to use: the one configured, or that of a running `schedule` or `up`."""
    if url := os.environ.get(API_VARIABLE):
        return url
    note = _server_note(project)
    if not note.is_file():
        return None
    server = read_json(note)
    return str(server["url"]) if psutil.pid_exists(server["process"]) else None


def note_server(project: Project, url: str) -> None:
    """Let other commands find the server that this process runs."""
    write_json(_server_note(project), {"url": url, "process": os.getpid()})


def forget_server(project: Project) -> None:
    """The server that this process ran is gone."""
    remove(_server_note(project))


def serve(project: Project) -> None:
    """Run the deployments at their times, on the Prefect server that `PREFECT_API_URL` names, until stopped."""
    import prefect

    os.chdir(project.home)
    prefect.serve(*map(_runnable, _read(project)), pause_on_shutdown=False)


def _runnable(entry: Mapping[str, Any]) -> RunnerDeployment:
    from prefect.deployments.runner import RunnerDeployment

    return RunnerDeployment.from_flow(
        _flow(entry),
        name=entry["name"],
        description=entry.get("description"),
        tags=entry.get("tags"),
        schedules=_with_paused_ones(entry),
        concurrency_limit=_limit(entry),
    )


def _read(project: Project) -> list[dict[str, Any]]:
    path = project.home / "prefect.yaml"
    try:
        entries: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["deployments"]
        for entry in entries:
            _flow_name(entry)
            for cron in _crons(entry):
                CronSim(cron, datetime.now(UTC))
    except (OSError, yaml.YAMLError, KeyError, TypeError, CronSimError) as error:
        raise ConfigError(f"{path} has no valid deployments: {error}", "Mend it, or restore it with git.") from error
    return entries


def _flow_name(entry: Mapping[str, Any]) -> str:
    return str(entry["entrypoint"]).rpartition(":")[2]


def _crons(entry: Mapping[str, Any]) -> list[str]:
    return [schedule["cron"] for schedule in entry.get("schedules", [])]


def _next(cron: str, now: datetime) -> str:
    return next(CronSim(cron, now)).isoformat(timespec="minutes")


def _flow(entry: Mapping[str, Any]) -> Flow[..., Any]:
    path, _, name = str(entry["entrypoint"]).rpartition(":")
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    flow: Flow[..., Any] = getattr(module, name)
    return flow


def _limit(entry: Mapping[str, Any]) -> Any:
    from prefect.client.schemas.objects import ConcurrencyLimitConfig

    return ConcurrencyLimitConfig(**entry["concurrency_limit"]) if "concurrency_limit" in entry else None


def _with_paused_ones(entry: Mapping[str, Any]) -> list[Any]:
    """A schedule that somebody paused stays paused when this process starts anew."""
    from prefect.schedules import Cron

    known = _deployment(os.environ[API_VARIABLE], entry) or {}
    paused = {
        schedule["schedule"].get("cron") for schedule in known.get("schedules", []) if not schedule.get("active", True)
    }
    return [Cron(cron, timezone="UTC", active=cron not in paused) for cron in _crons(entry)]


def _deployment(url: str, entry: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what the Prefect API knows of a deployment; None when it does not answer or know it."""
    try:
        answer = httpx.get(f"{url}/deployments/name/{_flow_name(entry)}/{entry['name']}", timeout=5)
    except httpx.HTTPError:
        return None
    found: dict[str, Any] | None = answer.json() if answer.is_success else None
    return found


def _state(url: str | None, entry: Mapping[str, Any]) -> str:
    if not url:
        return "not running: `mnistflow schedule` or `make up` starts it"
    deployment = _deployment(url, entry)
    if not deployment:
        return f"not known to {url}: `mnistflow schedule` adds it"
    if deployment["paused"] or not any(schedule["active"] for schedule in deployment["schedules"]):
        return "paused"
    return "scheduled" if deployment["status"] == "READY" else "nothing picks it up: start `mnistflow schedule`"


def _server_note(project: Project) -> Path:
    return project.var / "prefect/server.json"
