"""Client of prediction servers: their addresses, and their status of a model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mnistflow.checkout import service_record
from mnistflow.paths import Paths

if TYPE_CHECKING:
    import httpx

ADDRESS_VARIABLE = "MNISTFLOW_SERVER"
DEFAULT_ADDRESS = "http://127.0.0.1:8000"
# The server's own variable: commands on the server's machine use its first key.
KEYS_VARIABLE = "MNISTFLOW_SERVE_KEYS"
TIMEOUT_SECONDS = 2
# Of the server's metrics: requests, failed requests, seconds.
COUNTERS = ("mnistflow_inferences_total", "mnistflow_failed_inferences_total", "mnistflow_compute_seconds_total")


@dataclass(frozen=True)
class RolloutCalls:
    """Calls of one side of a rollout, from `/status`.

    Attributes:
        errors: requests without an answer.
        mean_milliseconds: None without any request.
    """

    calls: int
    errors: int
    mean_milliseconds: float | None


@dataclass(frozen=True)
class RolloutStatus:
    """A rollout as a server reports it.

    Attributes:
        challenger: number of the version.
        canary: share of the requests that it answers.
        shadow: whether it gets a copy of the others.
        state: `on`, or why the version gets no requests.
        calls: of `champion` and `challenger`.
        compared: rows answered by both.
        agreement: share of these rows for which both predict the same class.
        dropped: copies of requests dropped under load.
    """

    challenger: int
    canary: float
    shadow: bool
    state: str
    calls: Mapping[str, RolloutCalls]
    compared: int
    agreement: float | None
    dropped: int


@dataclass(frozen=True)
class ModelStatus:
    """A model as the server reports it.

    Attributes:
        champion: the version that serves; None when none does.
        refused: by number of a version, why the server does not serve it.
        wants_key: whether the server requires a key that this process does not have.
    """

    champion: int | None
    refused: Mapping[int, str]
    rollout: RolloutStatus | None
    wants_key: bool = False


@dataclass(frozen=True)
class RequestCounts:
    """Requests of one version since the servers started, from `/metrics`.

    Attributes:
        failed: those on which the model failed.
        seconds: spent in batches, summed.
    """

    requests: int = 0
    failed: int = 0
    seconds: float = 0.0

    @property
    def milliseconds(self) -> float:
        """Mean time of a request; 0 without any."""
        return self.seconds / self.requests * 1000 if self.requests else 0.0


def url(host: str, port: int) -> str:
    """Return the URL at which this machine reaches a server that listens on `host`."""
    reachable = "127.0.0.1" if host == "0.0.0.0" else host  # noqa: S104
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


@dataclass(frozen=True)
class Server:
    """A prediction server that this checkout knows, and its status of a model.

    Attributes:
        served: None when the server does not answer.
    """

    address: str
    served: ModelStatus | None


def record_address(paths: Paths, address: str) -> None:
    """Let other commands find the server that this process starts, or becomes."""
    service_record.add(_record(paths), address)


def addresses(paths: Paths) -> tuple[str, ...]:
    """Return the URLs of the servers: those in `MNISTFLOW_SERVER`, or those started from this checkout that run."""
    if given := os.environ.get(ADDRESS_VARIABLE):
        return tuple(one.rstrip("/") for one in given.split())
    return service_record.running(_record(paths))


def fetch_status(paths: Paths, name: str) -> tuple[Server, ...]:
    """Return the known servers, each with its own status of a model."""
    known = addresses(paths)
    if not known:
        return ()
    with ThreadPoolExecutor(len(known)) as pool:
        return tuple(pool.map(lambda address: Server(address, _fetch(address, name)), known))


def fetch_counts(paths: Paths, name: str) -> dict[int, RequestCounts]:
    """Return the requests that the known servers have answered with each version of a model, all servers together."""
    totals: dict[int, dict[str, float]] = {}
    for address in addresses(paths):
        for version, metric, value in _read_metrics(address, name):
            of_version = totals.setdefault(version, {})
            of_version[metric] = of_version.get(metric, 0.0) + value
    requests, failed, seconds = COUNTERS
    return {
        version: RequestCounts(int(found.get(requests, 0)), int(found.get(failed, 0)), found.get(seconds, 0.0))
        for version, found in totals.items()
    }


def _read_metrics(address: str, name: str) -> list[tuple[int, str, float]]:
    """Return version, name and value of the counters of a model's versions; none if the server does not give them."""
    import httpx
    from prometheus_client.parser import text_string_to_metric_families

    try:
        exposed = _get(address, "/metrics").raise_for_status().text
        return [
            (int(sample.labels["version"]), sample.name, sample.value)
            for family in text_string_to_metric_families(exposed)
            for sample in family.samples
            if sample.name in COUNTERS and sample.labels.get("model") == name
        ]
    except (httpx.HTTPError, httpx.InvalidURL, KeyError, ValueError):
        return []


def _get(address: str, path: str) -> httpx.Response:
    # Imported here, because most commands find no address to ask.
    import httpx

    key = os.environ.get(KEYS_VARIABLE, "").split(",")[0].strip()
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    return httpx.get(f"{address}{path}", headers=headers, timeout=TIMEOUT_SECONDS)


def _fetch(address: str, name: str) -> ModelStatus | None:
    import httpx
    from pydantic import TypeAdapter, ValidationError

    try:
        answer = _get(address, "/status")
        if answer.status_code == httpx.codes.UNAUTHORIZED:
            return ModelStatus(None, {}, None, wants_key=True)
        models = answer.raise_for_status().json()["models"]
        return TypeAdapter(ModelStatus).validate_python(models[name]) if name in models else ModelStatus(None, {}, None)
    except (httpx.HTTPError, httpx.InvalidURL, KeyError, TypeError, ValueError, ValidationError):
        return None


def _record(paths: Paths) -> Path:
    return paths.var / "servers.json"
