"""Store of an MLflow tracking server, read by its REST API 2.0 (https://mlflow.org/docs/latest/rest-api.html)."""

from __future__ import annotations

import configparser
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from mnistflow.errors import RegistryError
from mnistflow.tracking.records import RunQuery, Store, StoredModel, StoredRun, StoredVersion, filter_of, order_of

_PAGE = 1000
_NOT_FOUND = "RESOURCE_DOES_NOT_EXIST"
_TRANSIENT = (408, 429, 500, 502, 503, 504)
_PAUSES = (0.5, 2.0)
DEFAULT_TIMEOUT_SECONDS = 120.0
_SERVED = "mlflow-artifacts:/"


class RestStore(Store):
    """Reads from a server.

    Credentials and TLS are those that MLflow's own client takes: `MLFLOW_TRACKING_USERNAME` and
    `MLFLOW_TRACKING_PASSWORD` or `~/.mlflow/credentials`, `MLFLOW_TRACKING_TOKEN`, `MLFLOW_TRACKING_INSECURE_TLS`,
    `MLFLOW_TRACKING_SERVER_CERT_PATH`, `MLFLOW_TRACKING_CLIENT_CERT_PATH` and `MLFLOW_HTTP_REQUEST_TIMEOUT`.

    Args:
        uri: of the server, with or without a path.
    """

    def __init__(self, uri: str) -> None:
        self._uri = uri.rstrip("/")
        environment = os.environ
        token = environment.get("MLFLOW_TRACKING_TOKEN")
        username, password = _credentials(environment)
        insecure = environment.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1")
        self._client = httpx.Client(
            # As in MLflow, a user name comes before a token.
            auth=(username, password) if username and password else None,
            headers={"Authorization": f"Bearer {token}"} if token and not (username and password) else None,
            verify=_verification(insecure, environment.get("MLFLOW_TRACKING_SERVER_CERT_PATH")),
            cert=environment.get("MLFLOW_TRACKING_CLIENT_CERT_PATH"),
            timeout=float(environment.get("MLFLOW_HTTP_REQUEST_TIMEOUT", DEFAULT_TIMEOUT_SECONDS)),
            follow_redirects=True,
        )

    def experiment_id(self, name: str) -> str | None:
        answer = self._ask("GET", "experiments/get-by-name", params={"experiment_name": name})
        return str(answer["experiment"]["experiment_id"]) if answer else None

    def set_experiment_tag(self, experiment_id: str, key: str, value: str) -> None:
        """Set a tag of an experiment: the only method that writes.

        Raises:
            RegistryError: the server cannot be reached, refuses, or fails.
        """
        self._ask(
            "POST", "experiments/set-experiment-tag", json={"experiment_id": experiment_id, "key": key, "value": value}
        )

    def search_runs(self, query: RunQuery) -> list[StoredRun]:
        experiment = self.experiment_id(query.experiment)
        if experiment is None:
            return []
        found: list[StoredRun] = []
        body: dict[str, Any] = {"experiment_ids": [experiment], "order_by": order_of(query), "filter": filter_of(query)}
        while True:
            body["max_results"] = min(_PAGE, query.limit - len(found))
            answer = self._ask("POST", "runs/search", json=body) or {}
            found += map(_run, answer.get("runs", ()))
            body["page_token"] = answer.get("next_page_token")
            if not body["page_token"] or len(found) >= query.limit:
                return found

    def run(self, run_id: str) -> StoredRun | None:
        answer = self._ask("GET", "runs/get", params={"run_id": run_id})
        if not answer or answer["run"]["info"].get("lifecycle_stage") != "active":
            return None
        return _run(answer["run"])

    def model(self, name: str) -> StoredModel | None:
        answer = self._ask("GET", "registered-models/get", params={"name": name})
        if not answer:
            return None
        entry = answer["registered_model"]
        return StoredModel(
            aliases={item["alias"]: int(item["version"]) for item in entry.get("aliases", ())},
            tags={item["key"]: item.get("value", "") for item in entry.get("tags", ())},
        )

    def versions(self, model: str) -> list[StoredVersion]:
        found: list[StoredVersion] = []
        parameters: dict[str, Any] = {"filter": f"name = '{model}'", "max_results": _PAGE}
        while True:
            answer = self._ask("GET", "model-versions/search", params=parameters) or {}
            found += map(_version, answer.get("model_versions", ()))
            if not (token := answer.get("next_page_token")):
                return sorted(found, key=lambda version: -version.number)
            parameters["page_token"] = token

    def version(self, model: str, number: int) -> StoredVersion | None:
        answer = self._ask("GET", "model-versions/get", params={"name": model, "version": str(number)})
        return _version(answer["model_version"]) if answer else None

    def version_location(self, model: str, number: int) -> str:
        """Return the location of a version's files; empty when there is no such version.

        Raises:
            RegistryError: the server cannot be reached, refuses, or fails.
        """
        parameters = {"name": model, "version": str(number)}
        answer = self._ask("GET", "model-versions/get-download-uri", params=parameters)
        return str(answer["artifact_uri"]) if answer else ""

    def run_location(self, run_id: str) -> str:
        """Return the location of a run's artifacts; empty when there is no such run.

        Raises:
            RegistryError: the server cannot be reached, refuses, or fails.
        """
        answer = self._ask("GET", "runs/get", params={"run_id": run_id})
        return str(answer["run"]["info"]["artifact_uri"]) if answer else ""

    def serves(self, location: str) -> bool:
        """Return whether this server gives access to the artifacts at a location."""
        return location.startswith(_SERVED) and not location.startswith(f"{_SERVED}/")

    def fetch(self, location: str, target: Path) -> None:
        """Copy an artifact that this server gives access to.

        Raises:
            RegistryError: the server cannot be reached, refuses, or does not have it.
        """
        path = quote(location.removeprefix(_SERVED))
        try:
            with self._client.stream("GET", f"{self._uri}/api/2.0/mlflow-artifacts/artifacts/{path}") as response:
                response.raise_for_status()
                with target.open("wb") as file:
                    for part in response.iter_bytes():
                        file.write(part)
        except httpx.HTTPError as error:
            raise RegistryError(f"{location}: {error}", "Restore the artifact store.") from error

    def _ask(self, method: str, path: str, **arguments: Any) -> Any:
        """Return the answer of the API; None when it does not know what was asked for.

        Raises:
            RegistryError: the server cannot be reached, refuses, or fails.
        """
        cause: Exception | None
        transient: bool | None
        for pause in (*_PAUSES, None):
            try:
                response = self._client.request(method, f"{self._uri}/api/2.0/mlflow/{path}", **arguments)
            except httpx.TransportError as error:
                problem, cause, transient = str(error) or type(error).__name__, error, None
            else:
                if response.is_success:
                    return response.json()
                if _error_code(response) == _NOT_FOUND:
                    return None
                problem, cause, transient = f"status {response.status_code}", None, response.status_code in _TRANSIENT
                if not transient:
                    break
            if pause:
                time.sleep(pause)
        raise RegistryError(
            f"the MLflow server at {self._uri} does not answer: {problem}",
            "Start it, or correct MLFLOW_TRACKING_URI and its credentials.",
            transient=transient,
        ) from cause


def _credentials(environment: Mapping[str, str]) -> tuple[str, str]:
    stored: Mapping[str, str] = {}
    path = Path("~/.mlflow/credentials").expanduser()
    if path.is_file():
        parser = configparser.ConfigParser()
        parser.read(path)
        stored = dict(parser["mlflow"]) if "mlflow" in parser else {}
    username, password = (
        environment.get(name) or stored.get(name.lower(), "")
        for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD")
    )
    return username, password


def _verification(insecure: bool, certificates: str | None) -> Any:
    if insecure:
        return False
    if not certificates:
        return True
    import ssl

    return ssl.create_default_context(cafile=certificates)


def _error_code(response: httpx.Response) -> str:
    try:
        return str(response.json()["error_code"])
    except (ValueError, KeyError, TypeError):
        return ""


def _run(entry: Any) -> StoredRun:
    info, data = entry["info"], entry.get("data", {})
    return StoredRun(
        run_id=info["run_id"],
        experiment_id=str(info["experiment_id"]),
        name=info.get("run_name", ""),
        status=info["status"],
        started_ms=int(info["start_time"]),
        parameters={item["key"]: item.get("value", "") for item in data.get("params", ())},
        metrics={item["key"]: float(item.get("value", 0)) for item in data.get("metrics", ())},
        tags={item["key"]: item.get("value", "") for item in data.get("tags", ())},
    )


def _version(entry: Any) -> StoredVersion:
    return StoredVersion(
        name=entry["name"],
        number=int(entry["version"]),
        run_id=entry.get("run_id", ""),
        created_ms=int(entry["creation_timestamp"]),
        tags={item["key"]: item.get("value", "") for item in entry.get("tags", ())},
    )
