"""Services of `mnistflow up`, `schedule`, `ui` and `serve --follow`: commands, ports and readiness probes."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from flows.orchestration import automations, deployments, prefect_yaml, server_address
from flows.processes import ports, probes
from flows.processes.addresses import LOOPBACK
from flows.processes.supervisor import Service, Supervisor
from mnistflow import environment, files, server_client
from mnistflow.checkout import service_lock
from mnistflow.config import Config
from mnistflow.data.entry import IMAGE_CLASSIFICATION
from mnistflow.errors import MnistflowError
from mnistflow.paths import Paths
from mnistflow.registry import dataset_choice, versions
from mnistflow.registry.repository import publisher
from mnistflow.tracking import mlflow_ui
from mnistflow.tracking.store import open_store

RESTART_SECONDS = 5.0
TAKEOVER_SECONDS = 5.0
UP_LOCK = "up.lock"  # in var/
MODEL_VARIABLE = "MNISTFLOW_SERVE_MODEL"  # a setting of the server

# MLflow's job workers serve language models only, and take a gigabyte of memory.
NO_MLFLOW_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}

console = Console(soft_wrap=True)


def up(paths: Paths, settings: Config, host: str) -> None:
    """Run the MLflow UI, the Prefect server, the schedules and the prediction server until Ctrl-C.

    Raises:
        ConfigError: prefect.yaml or automations.yaml is not valid.
        MnistflowError: a service does not start, or ended by itself; or this checkout is up already; or no Prefect
            API answers at `PREFECT_API_URL`.
    """
    prefect_yaml.read(paths)
    automations.read(paths)
    with service_lock.shared(paths), files.claim(paths.var / UP_LOCK) as acquired:
        if not acquired:
            raise MnistflowError("`mnistflow up` is already running in this checkout", "Stop that process first.")
        with server_address.claim(paths) as runs_schedules:
            api, scheduling = _scheduling(paths, host) if runs_schedules else (None, [])
            if not runs_schedules:
                console.print("another process of this checkout already runs Prefect and the schedules")
            dataset = dataset_choice.current(paths, settings.fetch)
            _run(
                paths,
                [
                    *_mlflow(paths, dataset, host, mlflow_ui.PORT),
                    *scheduling,
                    follower(),
                    _predictions(paths, settings, host, 8000),
                ],
                api,
            )


def schedule(paths: Paths) -> None:
    """Run the schedules, and a Prefect server unless `PREFECT_API_URL` names one, until Ctrl-C.

    Raises:
        ConfigError: prefect.yaml or automations.yaml is not valid.
        MnistflowError: a service does not start, or ended by itself; or the schedules run already; or no Prefect API
            answers at `PREFECT_API_URL`.
    """
    prefect_yaml.read(paths)
    automations.read(paths)
    with service_lock.shared(paths), server_address.claim(paths) as acquired:
        if not acquired:
            raise MnistflowError("the schedules of this checkout are already running", "Stop that process first.")
        api, scheduling = _scheduling(paths, LOOPBACK)
        _run(paths, scheduling, api)


def serve_following(paths: Paths, settings: Config, host: str, port: int) -> None:
    """Run the prediction server, and beside it the process that follows the registry, until Ctrl-C.

    Neither ends with the other: one that was killed is started again.

    Raises:
        MnistflowError: one of them does not start.
    """
    with service_lock.shared(paths):
        _run(paths, [follower(), _predictions(paths, settings, host, port)], api=None, restart_seconds=RESTART_SECONDS)


def ui(paths: Paths, dataset: str, host: str, port: int) -> None:
    """Run the MLflow UI until Ctrl-C.

    Args:
        dataset: whose runs the printed address opens.

    Raises:
        MnistflowError: the UI does not start, or ended by itself.
    """
    with service_lock.shared(paths):
        if mlflow := _mlflow(paths, dataset, host, port):
            _run(paths, mlflow, api=None)


def _mlflow(paths: Paths, dataset: str, host: str, wanted: int) -> list[Service]:
    uri = environment.tracking_uri()
    experiment = open_store().experiment_id(dataset)
    if uri.startswith("http"):
        _share_view(uri, experiment, dataset)
        console.print(f"MLflow is already running at {mlflow_ui.runs_page(uri.rstrip('/'), experiment)}")
        return []
    port = choose_port("MLflow", host, wanted)
    address = server_client.url(host, port)
    mlflow_ui.record_address(paths, address)
    return [
        Service(
            name="MLflow",
            command=("mlflow", "server", "--backend-store-uri", uri, *_listen(host, port), "--workers", "1"),
            is_ready=partial(probes.answers, f"{address}/health"),
            on_ready=partial(_share_view, address, experiment, dataset),
            address=mlflow_ui.runs_page(address, experiment),
            default_environment=NO_MLFLOW_JOBS,
        )
    ]


def _share_view(address: str, experiment: str | None, dataset: str) -> None:
    """Let MLflow's UI sort the runs by the headline metric. Without the view, it sorts by time."""
    if experiment is not None:
        headline = versions.task_of(dataset).headline
        mlflow_ui.share_view(address, experiment, f"test_{headline.name}", headline.larger_is_better)


def _scheduling(paths: Paths, host: str) -> tuple[str, list[Service]]:
    """Return the address of the Prefect API, and the services that run the schedules there."""
    if api := server_address.configured_server():
        folders = deployments.folders_elsewhere(paths, api)
        _report_moved(paths, [folder for folder, is_polled in folders.items() if not is_polled])
        return api, [_runner(paths, api, former=[folder for folder, is_polled in folders.items() if is_polled])]
    former = server_address.former_checkout(paths)
    _report_moved(paths, [former] if former else [])
    port = choose_port("Prefect", host, 4200)
    api = f"{server_client.url(host, port)}/api"
    return api, [_prefect(paths, host, port), _runner(paths, api, "--alone")]


def _report_moved(paths: Paths, former: Sequence[str]) -> None:
    if former:
        console.print(f"the schedules ran in {', '.join(former)}: they run in {paths.checkout} from now on")


def _prefect(paths: Paths, host: str, port: int) -> Service:
    address = server_client.url(host, port)
    return Service(
        name="Prefect",
        command=("prefect", "server", "start", *_listen(host, port)),
        is_ready=partial(server_address.answers, f"{address}/api"),
        address=address,
        default_environment=prefect_ui_environment(paths.var / "prefect/ui"),
    )


def prefect_ui_environment(folder: Path) -> Mapping[str, str]:
    """Return variables of a Prefect server that serves its UI.

    Args:
        folder: for the UI's files.
    """
    return {
        # Relative, because a browser may reach the server by any host name.
        "PREFECT_SERVER_UI_API_URL": "/api",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        # By default the UI is unpacked into the installed package, which may be read-only.
        "PREFECT_SERVER_UI_STATIC_DIRECTORY": str(folder),
    }


def _runner(paths: Paths, api: str, *arguments: str, former: Sequence[str] = ()) -> Service:
    """Return the runner of the schedules; it waits until those of `former` checkouts have ended."""
    waiting = f"they run in {', '.join(former)}; this checkout takes over when the runner there has ended"
    return Service(
        name="schedules",
        command=("flows.orchestration.deployment_runner", *arguments),
        can_start=_Takeover(paths, api).is_possible if former else partial(server_address.answers, api),
        waiting_message=waiting if former else "",
        is_ready=partial(deployments.are_served, paths, api),
        default_environment={server_address.API_VARIABLE: api},
    )


@dataclass
class _Takeover:
    """Asks the Prefect API at `api`, every few seconds, whether no other checkout runs the schedules any more."""

    paths: Paths
    api: str
    next_look: float = 0.0

    def is_possible(self) -> bool:
        if time.monotonic() < self.next_look or not server_address.answers(self.api):
            return False
        self.next_look = time.monotonic() + TAKEOVER_SECONDS
        return not any(deployments.folders_elsewhere(self.paths, self.api).values())


def server_command(paths: Paths, settings: Config, host: str, port: int) -> tuple[str, ...]:
    """Return module and arguments of the prediction server.

    `/predict` uses the model of the current data set if it classifies images. By itself, the server would choose the
    newest champion of any data set.
    """
    dataset = dataset_choice.current(paths, settings.fetch)
    name = versions.model_name(dataset)
    takes_images = versions.task_of(dataset).name == IMAGE_CLASSIFICATION
    is_chosen = takes_images and publisher.published_champion(paths, name) and MODEL_VARIABLE not in os.environ
    model = ("--model", name) if is_chosen else ()
    return "serving", "--repository", str(paths.models), *_listen(host, port), *model


def follower(environment: Mapping[str, str] | None = None, can_start: Callable[[], bool] = lambda: True) -> Service:
    """Return the service that keeps the model repository, which the servers read, equal to the registry."""
    return Service(
        name="follow",
        command=("flows", "follow"),
        can_start=can_start,
        is_ready=lambda: True,  # from its start on, whether the registry answers or not
        environment=environment or {},
    )


def _predictions(paths: Paths, settings: Config, host: str, wanted: int) -> Service:
    port = choose_port("predictions", host, wanted)
    server_client.record_address(paths, server_client.url(host, port))
    return prediction_server("predictions", paths, settings, host, port)


def prediction_server(
    name: str,
    paths: Paths,
    settings: Config,
    host: str,
    port: int,
    environment: Mapping[str, str] | None = None,
    can_start: Callable[[], bool] = lambda: True,
) -> Service:
    """Return a prediction server as a service that starts when there is a model.

    Args:
        name: of the service.
        paths: of the checkout.
        settings: params.yaml.
        host: that it listens on.
        port: that it listens on.
        environment: variables of the server.
        can_start: whether what it needs besides a model is there.
    """
    address = server_client.url(host, port)
    return Service(
        name=name,
        command=server_command(paths, settings, host, port),
        can_start=lambda: any(paths.models.glob("*/champion")) and can_start(),
        waiting_message="no model yet: run `mnistflow retrain` in another terminal, and it will be served here",
        is_ready=partial(probes.answers, f"{address}/v2/health/ready"),
        address=address,
        environment=environment or {},
    )


def _run(paths: Paths, services: Sequence[Service], api: str | None, restart_seconds: float | None = None) -> None:
    def report_start() -> None:
        if api:
            server_address.record_server(paths, api)
            _register_automations(paths, api)
        print_addresses(services, api)

    console.print("starting " + ", ".join(service.name for service in services))
    try:
        logs = paths.var / "logs"
        Supervisor(services, paths.checkout, logs, console.print, restart_seconds).run(report_start)
    finally:
        if api:
            server_address.clear_server(paths)


def _register_automations(paths: Paths, api: str) -> None:
    # Not before the schedules work: only then the server knows the deployments, which automations may name.
    wanted = automations.read(paths)
    if wanted is not None:
        problems = automations.register(api, wanted)
        console.print(f"{len(wanted) - len(problems)} of {len(wanted)} automations are registered")
        for problem in problems:
            console.print(problem)


def print_addresses(services: Sequence[Service], api: str | None, note: str = "") -> None:
    """Print where services answer, and how to stop them.

    Args:
        api: URL of Prefect's API.
        note: a line before the last.
    """
    addresses = {service.name: service.address for service in services if service.address}
    if api:
        addresses["Prefect's API"] = api
    # Not a table, which would break long addresses.
    width = max(map(len, addresses), default=0)
    for name, address in addresses.items():
        console.print(f" [bold]{name:<{width}}[/bold]  {address}")
    if note:
        console.print(note)
    console.print("Ctrl-C stops all services.")


def _listen(host: str, port: int) -> tuple[str, ...]:
    return "--host", host, "--port", str(port)


def choose_port(name: str, host: str, wanted: int) -> int:
    """Reserve a port for a service, the wanted one or the next that is free, and report which if it is another."""
    port = ports.reserve(host, wanted)
    if port != wanted:
        console.print(f"port {wanted} is taken: {name} gets {port}")
    return port
