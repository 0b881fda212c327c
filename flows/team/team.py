"""A team's set-up: composition of its services, which run on this machine until Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path

from flows import services
from flows.processes import probes
from flows.processes.addresses import LOOPBACK
from flows.processes.supervisor import Service, Supervisor
from flows.team import programs
from flows.team.dask_cluster import DaskCluster
from flows.team.folder import Secrets, TeamFolder
from flows.team.gateway import Gateway
from flows.team.mlflow_server import DATABASE as MLFLOW
from flows.team.mlflow_server import USERS_DATABASE as MLFLOW_USERS
from flows.team.mlflow_server import MlflowServer
from flows.team.object_store import ObjectStore
from flows.team.observability import Grafana, Prometheus, monitoring_files
from flows.team.orchestrator import DATABASE as PREFECT
from flows.team.orchestrator import Orchestrator
from flows.team.postgresql import PostgreSql
from mnistflow import files, server_client
from mnistflow.checkout import service_lock
from mnistflow.config import Config
from mnistflow.errors import MnistflowError
from mnistflow.paths import Paths

WORKERS = 2  # of Prefect and of Dask
SERVERS = 2
RESTART_SECONDS = 3.0
INFERENCES = "inferences"  # database of the servers' inference log
PORTS = {
    "PostgreSQL": 5433,  # beside one of Debian's own
    "S3": 9000,
    "MLflow": 5000,
    "Prefect": 4200,
    "Dask": 8786,
    "nginx": 8443,
    "Prometheus": 9090,
    "Grafana": 3000,
}
PREDICTIONS_PORT = 8000


def up(paths: Paths, settings: Config) -> None:
    """Run all services until Ctrl-C. One that ends by itself is started again.

    Raises:
        MnistflowError: something that is needed is not installed; or a service does not start; or this checkout's
            set-up runs already.
    """
    programs.require_all((programs.POSTGRES, *programs.PACKAGES))
    with service_lock.shared(paths), files.claim(paths.var / "team.lock") as acquired:
        if not acquired:
            raise MnistflowError("`mnistflow team-up` is already running in this checkout", "Stop that process first.")
        folder = TeamFolder.of(paths)
        team = Team(paths, settings, folder)
        started = list(team.services())
        services.console.print("starting " + ", ".join(service.name for service in started))
        folder.write_environment(team.client_environment)

        def report_start() -> None:
            services.print_addresses(
                started, team.orchestrator.api, f"To use them, run `. {folder.environment}` before other commands."
            )

        supervisor = Supervisor(started, paths.checkout, folder.logs, services.console.print, RESTART_SECONDS)
        supervisor.run(report_start)


class Team:
    """Services of the set-up, and what they need to know of each other."""

    def __init__(self, paths: Paths, settings: Config, folder: TeamFolder) -> None:
        """Choose the ports."""
        self._paths, self._settings, self._folder = paths, settings, folder
        self._ports = {name: services.choose_port(name, LOOPBACK, wanted) for name, wanted in PORTS.items()}
        self._server_ports = [
            services.choose_port(f"predictions {number}", LOOPBACK, PREDICTIONS_PORT + number - 1)
            for number in range(1, SERVERS + 1)
        ]
        secrets = folder.secrets()
        databases = (MLFLOW, MLFLOW_USERS, PREFECT, INFERENCES)
        root = folder.root
        self.database = PostgreSql(root / "postgresql", self._ports["PostgreSQL"], secrets.postgresql, databases)
        self.store = ObjectStore(root / "s3", self._ports["S3"], secrets.object_store)
        self.mlflow = MlflowServer(root / "mlflow", self._ports["MLflow"], secrets, self.database, self.store)
        self.orchestrator = Orchestrator(root / "prefect", self._ports["Prefect"], secrets, self.database)
        self.cluster = DaskCluster(root / "dask", self._ports["Dask"], WORKERS)
        self._secrets: Secrets = secrets

    @property
    def client_environment(self) -> Mapping[str, str]:
        """Variables of commands and runs that use this set-up."""
        return {
            **self.mlflow.client_environment,
            **self.orchestrator.client_environment,
            **self.cluster.client_environment,
            **self._inference_log,
            server_client.ADDRESS_VARIABLE: " ".join(self._server_addresses),
        }

    @property
    def _inference_log(self) -> Mapping[str, str]:
        return {"MNISTFLOW_SERVE_INFERENCE_LOG": self.database.url(INFERENCES)}

    @property
    def _server_addresses(self) -> list[str]:
        return [server_client.url(LOOPBACK, port) for port in self._server_ports]

    def services(self) -> Iterator[Service]:
        """Yield all services whose programs are installed, each after those that it needs."""
        yield self.database.service()
        yield self.store.service()
        yield self.mlflow.service(can_start=lambda: self.database.ensure_databases() and self.store.is_ready())
        yield self.orchestrator.server()
        yield services.follower(self.mlflow.client_environment, self._mlflow_answers)
        yield from self.cluster.services(self.mlflow.client_environment)
        for number in range(1, WORKERS + 1):
            yield self.orchestrator.worker(number, self.client_environment, self._runs_can_start)
        yield from self._predictions()
        yield from chain(self._gateway(), self._monitoring())

    def _runs_can_start(self) -> bool:
        return probes.answers(f"{self.orchestrator.api}/health") and self._mlflow_answers()

    def _mlflow_answers(self) -> bool:
        return probes.answers(f"{self.mlflow.address}/health")

    def _predictions(self) -> Iterator[Service]:
        for number, port in enumerate(self._server_ports, start=1):
            yield services.prediction_server(
                f"predictions {number}",
                self._paths,
                self._settings,
                LOOPBACK,
                port,
                self._inference_log,
                self.database.ensure_databases,
            )

    def _gateway(self) -> Iterator[Service]:
        if nginx := _optional(programs.NGINX):
            yield Gateway(self._folder.root / "nginx", self._ports["nginx"], self._server_ports).service(nginx)

    def _monitoring(self) -> Iterator[Service]:
        sources = monitoring_files(self._paths)
        root = self._folder.root
        if not (program := _optional(programs.PROMETHEUS)):
            return
        prometheus = Prometheus(root / "prometheus", self._ports["Prometheus"], sources, self._server_ports)
        yield prometheus.service(program)
        if grafana := _optional(programs.GRAFANA):
            port, password = self._ports["Grafana"], self._secrets.grafana
            yield Grafana(root / "grafana", port, sources, prometheus.address, password).service(grafana)


def _optional(program: programs.Program) -> Path | None:
    found = program.find()
    if not found:
        services.console.print(f"{program.name} is not installed, and is left out. {program.fix}")
    return found
