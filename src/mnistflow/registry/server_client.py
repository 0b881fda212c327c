"""Client of the prediction server: its address, and its status of a model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mnistflow.errors import DataError
from mnistflow.files import read_json, write_json
from mnistflow.paths import Paths

ADDRESS_VARIABLE = "MNISTFLOW_SERVER"
# The server's own variable: commands on the server's machine use its first key.
KEYS_VARIABLE = "MNISTFLOW_SERVE_KEYS"
TIMEOUT_SECONDS = 2


@dataclass(frozen=True)
class Calls:
    """Statistics of the requests that one version has answered.

    Attributes:
        errors: requests without an answer.
        mean_milliseconds: None without any request.
    """

    calls: int
    errors: int
    mean_milliseconds: float | None


@dataclass(frozen=True)
class Rollout:
    """A rollout as the server reports it.

    Attributes:
        challenger: number of the version that is tried.
        canary: share of the requests that it answers.
        shadow: whether it gets a copy of the others.
        state: `on`, or why the version is not tried.
        calls: of `champion` and `challenger`.
        compared: rows answered by both.
        agreement: share of these rows for which both predict the same class.
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
    """A model as the server reports it.

    Attributes:
        champion: the version that serves; None when none does.
        refused: by number of a version, why the server does not serve it.
        wants_key: whether the server requires a key that this process does not have.
    """

    champion: int | None
    refused: Mapping[int, str]
    rollout: Rollout | None
    wants_key: bool = False


def url(host: str, port: int) -> str:
    """Return the URL at which this machine reaches a server that listens on `host`."""
    reachable = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


def record_address(paths: Paths, address: str) -> None:
    """Let other commands find the server that is started now."""
    write_json(_record(paths), {"url": address})


def address(paths: Paths) -> str | None:
    """Return the server's URL: `MNISTFLOW_SERVER`, or that of the server started last from this checkout."""
    if given := os.environ.get(ADDRESS_VARIABLE):
        return given.rstrip("/")
    try:
        return str(read_json(_record(paths))["url"])
    except (DataError, KeyError, TypeError):
        return None


def fetch_status(address: str, name: str) -> Served | None:
    """Return the server's status of a model; None when no server answers there, or it does not know the model."""
    # Imported here, because most commands find no address to ask.
    import httpx
    from pydantic import TypeAdapter, ValidationError

    key = os.environ.get(KEYS_VARIABLE, "").split(",")[0].strip()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    try:
        answer = httpx.get(f"{address}/status", headers=headers, timeout=TIMEOUT_SECONDS)
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            return Served(None, {}, None, wants_key=True)
        return TypeAdapter(Served).validate_python(answer.raise_for_status().json()["models"][name])
    except (httpx.HTTPError, httpx.InvalidURL, KeyError, TypeError, ValueError, ValidationError):
        return None


def _record(paths: Paths) -> Path:
    return paths.var / "server.json"
