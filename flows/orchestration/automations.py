"""Automations of automations.yaml: what the Prefect server does after an event, such as `mnistflow.rejected`.

The file has the format of `prefect automation create --from-file`. Deployments and blocks may be named, as in
`ingest/nightly` and `slack-webhook/alerts`, where Prefect expects an id that is another one on each server. Automations
are registered by name when the schedules start. Those that the file no longer has are deleted; those of other origin,
which lack the tag of this module, are left alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import httpx
from pydantic import BaseModel, ConfigDict

from flows.orchestration import server_address
from mnistflow import yaml_files
from mnistflow.errors import ConfigError, MnistflowError
from mnistflow.paths import Paths

FILE = "automations.yaml"
FIX = "Correct it, or remove it."
TAG = "automations.yaml"  # of the automations that come from the file
API_SECONDS = 10

# Where an id may be replaced by a name: the address of what has that name, under that of the API.
NAMED = {
    "deployment_id": "deployments/name/{0}/{1}",
    "block_document_id": "block_types/slug/{0}/block_documents/name/{1}",
}


class Automation(BaseModel):
    """An entry of automations.yaml. The Prefect server validates what is not listed here."""

    model_config = ConfigDict(extra="allow")

    name: str
    enabled: bool = True
    tags: list[str] = []
    trigger: dict[str, Any]
    actions: list[dict[str, Any]]


class _File(BaseModel):
    automations: list[Automation]


def read(paths: Paths) -> list[Automation] | None:
    """Return the automations of automations.yaml; None if the checkout has no such file.

    Raises:
        ConfigError: the file is not valid.
    """
    path = paths.checkout / FILE
    if not path.exists():
        return None
    found = yaml_files.read_model(path, _File, FIX).automations
    if len({automation.name for automation in found}) < len(found):
        raise ConfigError(f"{path}: two automations have the same name", FIX)
    return found


def register(url: str, wanted: list[Automation]) -> list[str]:
    """Make the automations of the Prefect API at `url` those of the file.

    One that is paused at the server stays paused.

    Returns:
        A line for each automation that could not be registered; the others are registered all the same.
    """
    problems = []
    with httpx.Client(base_url=url, headers=server_address.authorization(), timeout=API_SECONDS) as api:
        try:
            known = _known(api)
            for automation in wanted:
                if problem := _register(api, automation, known.pop(automation.name, None)):
                    problems.append(f"automation {automation.name!r} is not registered: {problem}")
            for left in known.values():
                api.delete(f"/automations/{left['id']}").raise_for_status()
        except (httpx.HTTPError, ValueError) as error:
            problems.append(f"automations are not registered: {error}")
    return problems


def _known(api: httpx.Client) -> dict[str, Mapping[str, Any]]:
    """Return the automations of the server that have come from the file, by name."""
    of_file = {"automations": {"tags": {"all_": [TAG]}}}
    answer = api.post("/automations/filter", json=of_file).raise_for_status()
    return {automation["name"]: automation for automation in answer.json()}


def _register(api: httpx.Client, automation: Automation, known: Mapping[str, Any] | None) -> str:
    """Create or update an automation; returns why that was not possible."""
    try:
        content = {
            **automation.model_dump(),
            "enabled": automation.enabled and (known is None or known["enabled"]),
            "tags": [*automation.tags, TAG],
            "actions": [_with_ids(api, action) for action in automation.actions],
        }
    except MnistflowError as error:
        return str(error)
    answer = api.put(f"/automations/{known['id']}", json=content) if known else api.post("/automations/", json=content)
    return "" if answer.is_success else f"HTTP status {answer.status_code}: {_reason(answer)}"


def _with_ids(api: httpx.Client, action: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _id(api, key, value) if key in NAMED else value for key, value in action.items()}


def _id(api: httpx.Client, key: str, value: Any) -> Any:
    """Return the id of what is named; an id is returned as it is.

    Raises:
        MnistflowError: the server has nothing of that name.
    """
    kind, slash, name = str(value).partition("/")
    if not slash:
        return value
    answer = api.get(f"/{NAMED[key].format(kind, name)}")
    if answer.status_code == httpx.codes.NOT_FOUND:
        raise MnistflowError(
            f"the Prefect server has no {key.removesuffix('_id').replace('_', ' ')} {value}",
            "Create it at the server, or correct the name in automations.yaml.",
        )
    return str(UUID(answer.raise_for_status().json()["id"]))


def _reason(answer: httpx.Response) -> str:
    """Return what the server objects to, in one line."""
    try:
        first = answer.json()["exception_detail"][0]
        return f"{'.'.join(map(str, first['loc'][1:]))}: {first['msg']}"
    except (ValueError, LookupError, TypeError):
        return " ".join(answer.text.split())[:200]
