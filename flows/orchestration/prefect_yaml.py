"""prefect.yaml: its deployments and cron schedules, read and validated."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError
from pydantic import BaseModel, field_validator, model_validator

from mnistflow import yaml_files
from mnistflow.paths import Paths


class CronSchedule(BaseModel, extra="forbid"):
    """An entry of `schedules` in prefect.yaml.

    Attributes:
        parameters: of the runs of this schedule, over those of the deployment.
    """

    cron: str
    timezone: str = "UTC"
    active: bool = True
    slug: str | None = None
    parameters: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _is_of_cron(cls, entry: Any) -> Any:
        if isinstance(entry, dict) and entry.keys() & {"interval", "rrule"}:
            raise ValueError("only schedules with `cron` are supported, not those with `interval` or `rrule`")
        return entry

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

    def next_after(self, moment: datetime) -> datetime:
        """Return the next time after `moment`, in UTC."""
        return next(CronSim(self.cron, moment.astimezone(ZoneInfo(self.timezone)))).astimezone(UTC)


class Deployment(BaseModel, extra="forbid"):
    """An entry of `deployments` in prefect.yaml.

    Attributes:
        work_pool, build, push, pull: used by `prefect deploy` and workers only.
    """

    name: str
    entrypoint: str
    version: str | None = None
    description: str | None = None
    tags: list[str] = []
    parameters: dict[str, Any] = {}
    paused: bool = False
    concurrency_limit: int | dict[str, Any] | None = None
    schedules: list[CronSchedule] = []
    work_pool: Any = None
    build: Any = None
    push: Any = None
    pull: Any = None

    @property
    def full_name(self) -> str:
        """Name of the flow, which Prefect derives from that of the function, and of the deployment."""
        return f"{self.entrypoint.rpartition(':')[2].replace('_', '-')}/{self.name}"


class _PrefectYaml(BaseModel):
    deployments: list[Deployment]


def read(paths: Paths) -> list[Deployment]:
    """Return the deployments of prefect.yaml.

    Raises:
        ConfigError: prefect.yaml is missing or not valid.
    """
    path = paths.checkout / "prefect.yaml"
    return yaml_files.read_model(path, _PrefectYaml, "Correct it, or restore it with git.").deployments
