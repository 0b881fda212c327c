"""The prediction server as other commands see it: where it is, and what it says of a model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
from pydantic import TypeAdapter, ValidationError

from mnistflow.errors import DataError
from mnistflow.files import read_json, write_json
from mnistflow.paths import Paths

ADDRESS_VARIABLE = "MNISTFLOW_SERVER"
# The server's own variable: whoever may start it with keys may also ask it.
KEYS_VARIABLE = "MNISTFLOW_SERVE_KEYS"
TIMEOUT_SECONDS = 2


@dataclass(frozen=True)
class Calls:
    """What came of the calls of one version; `mean_milliseconds` is None without any."""

    calls: int
    errors: int
    mean_milliseconds: float | None


@dataclass(frozen=True)
class Rollout:
    """A challenger as the server tries it.

    Attributes:
        canary: share of the requests that it answers.
        shadow: whether it gets a copy of the others.
        state: `on`, or why it is not tried.
        calls: of `champion` and `challenger`.
        compared: rows answered by both.
        agreement: share of those for which both named the same class.
        dropped: copies of requests dropped under load.
    """

    challenger: int
    canary: float
    shadow: bool
    state: str
    calls: Mapping[str, Calls]
    compared: int
    agreement: float | None
    dropped: int


@dataclass(frozen=True)
class Served:
    """A model as the server has it.

    Attributes:
        champion: the version that serves; None when none does.
        refused: why it does not serve a version, by the version's number.
        wants_key: whether it says nothing without a key.
    """

    champion: int | None
    refused: Mapping[int, str]
    rollout: Rollout | None
    wants_key: bool = False


def url(host: str, port: int) -> str:
    """Return where this machine reaches what listens on `host`."""
    reachable = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def note(paths: Paths, address: str) -> None:
    """Let other commands find the server that is started now."""
    write_json(_note(paths), {"url": address})


def address(paths: Paths) -> str | None:
    """Return where the server is: `MNISTFLOW_SERVER`, else the one started last from this checkout."""
    if given := os.environ.get(ADDRESS_VARIABLE):
        return given.rstrip("/")
    try:
        return str(read_json(_note(paths))["url"])
    except (DataError, KeyError, TypeError):
        return None


def ask(address: str, name: str) -> Served | None:
    """Ask a server about a model; None when none answers there that knows it."""
    key = os.environ.get(KEYS_VARIABLE, "").split(",")[0].strip()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.get(f"{address}/status", headers=headers, timeout=TIMEOUT_SECONDS)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            return Served(None, {}, None, wants_key=True)
        return TypeAdapter(Served).validate_python(answer.raise_for_status().json()["models"][name])
    except (httpx.HTTPError, httpx.InvalidURL, KeyError, TypeError, ValueError, ValidationError):
        return None


def _note(paths: Paths) -> Path:
    return paths.var / "server.json"
