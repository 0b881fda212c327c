"""Prefect of a team's set-up: the server on PostgreSQL, a work pool, and its workers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import httpx

from flows import services
from flows.orchestration import server_address
from flows.processes.supervisor import Service
from flows.team.folder import Secrets
from flows.team.postgresql import PostgreSql

DATABASE = "prefect"
USER = "admin"
WORK_POOL = "default"  # of prefect.yaml
POLL_SECONDS = 5
HEARTBEAT_SECONDS = 10


@dataclass(frozen=True)
class Orchestrator:
    """Prefect's server and the workers of its work pool.

    Attributes:
        folder: holds leases of runs and the UI's files.
    """

    folder: Path
    port: int
    secrets: Secrets
    database: PostgreSql

    @property
    def address(self) -> str:
        """URL of the UI."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def api(self) -> str:
        """URL of the API."""
        return f"{self.address}/api"

    @property
    def client_environment(self) -> Mapping[str, str]:
        """Variables of its clients."""
        return {
            server_address.API_VARIABLE: self.api,
            "PREFECT_API_AUTH_STRING": self._authentication,
            "PREFECT_CLIENT_RETRY_EXTRA_CODES": "500",  # while PostgreSQL is away
        }

    @property
    def _authentication(self) -> str:
        return f"{USER}:{self.secrets.prefect}"

    def server(self) -> Service:
        """Return the server as a service that starts when its database answers."""
        return Service(
            name="Prefect",
            command=("prefect", "server", "start", "--host", "127.0.0.1", "--port", str(self.port)),
            can_start=self.database.ensure_databases,
            is_ready=partial(server_address.answers, self.api),
            address=self.address,
            environment={
                "PREFECT_HOME": str(self.folder),
                "PREFECT_SERVER_DATABASE_CONNECTION_URL": self.database.url(DATABASE, "asyncpg"),
                "PREFECT_SERVER_API_AUTH_STRING": self._authentication,
                **services.prefect_ui_environment(self.folder / "ui"),
                **self.client_environment,
            },
        )

    def worker(self, number: int, environment: Mapping[str, str], can_start: Callable[[], bool]) -> Service:
        """Return a worker as a service; the first one registers the deployments of prefect.yaml.

        Args:
            number: of the worker, from 1.
            environment: variables of the runs, of which those of Prefect's clients are a part.
            can_start: whether what its runs need works.
        """
        name = f"worker-{number}"
        is_first = number == 1
        return Service(
            name=name,
            command=("flows.team.worker", WORK_POOL, name, *(["--register"] if is_first else [])),
            can_start=can_start if is_first else self._has_pool,
            is_ready=partial(self._is_online, name),
            environment={
                **environment,
                "PREFECT_HOME": str(self.folder),
                "PREFECT_WORKER_QUERY_SECONDS": str(POLL_SECONDS),
                "PREFECT_WORKER_HEARTBEAT_SECONDS": str(HEARTBEAT_SECONDS),
            },
        )

    def _has_pool(self) -> bool:
        return self._ask("GET", f"work_pools/{WORK_POOL}") is not None

    def _is_online(self, name: str) -> bool:
        known = self._ask("POST", f"work_pools/{WORK_POOL}/workers/filter") or []
        return any(worker["name"] == name and worker["status"] == "ONLINE" for worker in known)

    def _ask(self, method: str, path: str) -> list[dict[str, str]] | None:
        """Return what the API answers; None if it does not, or knows no such thing."""
        try:
            answer = httpx.request(
                method,
                f"{self.api}/{path}",
                json={} if method == "POST" else None,
                auth=(USER, self.secrets.prefect),
                timeout=server_address.PROBE_SECONDS,
                verify=False,  # noqa: S501  # plain HTTP: certificates take 40 ms to load
            )
            found: list[dict[str, str]] | None = answer.json() if answer.is_success else None
        except (httpx.HTTPError, ValueError):
            return None
        return found
