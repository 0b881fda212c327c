"""MLflow of a team's set-up: runs in PostgreSQL, artifacts in the object store, users with passwords."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from flows import services
from flows.processes import probes
from flows.processes.supervisor import Service
from flows.team.folder import Secrets, write_private
from flows.team.object_store import ObjectStore
from flows.team.postgresql import PostgreSql

USER = "admin"
DATABASE = "mlflow"
USERS_DATABASE = "mlflow_users"
DRIVER = "psycopg"


@dataclass(frozen=True)
class MlflowServer:
    """MLflow's server with its basic-auth app.

    Attributes:
        folder: holds the configuration of its users.
    """

    folder: Path
    port: int
    secrets: Secrets
    database: PostgreSql
    store: ObjectStore

    @property
    def address(self) -> str:
        """URL of the server and its UI."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def client_environment(self) -> Mapping[str, str]:
        """Variables of its clients."""
        return {
            "MLFLOW_TRACKING_URI": self.address,
            "MLFLOW_TRACKING_USERNAME": USER,
            "MLFLOW_TRACKING_PASSWORD": self.secrets.mlflow,
        }

    def service(self, can_start: Callable[[], bool]) -> Service:
        """Return the server as a service that starts when its stores answer."""
        users = self.folder / "basic_auth.ini"
        write_private(
            users,
            "[mlflow]\n"
            "default_permission = READ\n"
            # Interpolation of configparser: a percent sign would have to be doubled; the password has none.
            f"database_uri = {self.database.url(USERS_DATABASE, DRIVER)}\n"
            f"admin_username = {USER}\n"
            "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n",
        )
        return Service(
            name="MLflow",
            command=("mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port), "--app-name", "basic-auth"),
            can_start=can_start,
            is_ready=partial(probes.answers, f"{self.address}/health"),
            address=self.address,
            environment={
                **self.store.client_environment,
                "MLFLOW_BACKEND_STORE_URI": self.database.url(DATABASE, DRIVER),
                "MLFLOW_ARTIFACTS_DESTINATION": self.store.url("mlflow"),
                "MLFLOW_AUTH_CONFIG_PATH": str(users),
                "MLFLOW_AUTH_ADMIN_PASSWORD": self.secrets.mlflow,
                "MLFLOW_FLASK_SERVER_SECRET_KEY": self.secrets.mlflow_session,
                "MLFLOW_WORKERS": "1",
                **services.NO_MLFLOW_JOBS,
                # Its clients' variable; the server itself has the stores above.
                "MLFLOW_TRACKING_URI": "",
            },
        )
