"""Commands that serve: predict, serve, schedule, ui, up, team-up."""

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from flows.cli.context import load_context, load_fetch_context
from flows.cli.options import DatasetOption, Host
from mnistflow.errors import MnistflowError


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (predict, serve, schedule, ui, up, team_up):
        app.command()(command)


def predict(images: Annotated[list[Path], typer.Argument(metavar="IMAGE...")], dataset: DatasetOption = None) -> None:
    """Classify PNG, JPEG, WebP or BMP files of any size with the champion."""
    paths, config = load_fetch_context()
    from mnistflow.registry import status as state
    from mnistflow.registry import versions

    model = versions.model_name(state.choose_dataset(paths, config, dataset))
    _become("serving.classify", "--repository", str(paths.models), "--model", model, *map(str, images))


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.", envvar="MNISTFLOW_SERVE_HOST")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 takes a free one.", envvar="MNISTFLOW_SERVE_PORT")
    ] = 8000,
) -> None:
    """Serve the champions of the model repository over HTTP; `mnistflow-serve` has all settings."""
    paths, settings = load_context()
    from flows import services
    from mnistflow.registry import server_client

    if port:
        server_client.record_address(paths, server_client.url(host, port))
    _become(*services.server_command(paths, settings, host, port))


def schedule() -> None:
    """Run the deployments of prefect.yaml at their times until Ctrl-C."""
    paths, _ = load_context()
    from flows import services

    services.schedule(paths)


def ui(host: Host = "127.0.0.1", port: int = 5000) -> None:
    """Start the MLflow UI; the printed address opens the runs of the data set, best first."""
    paths, settings = load_context()
    from flows import services
    from mnistflow.registry import status as state

    services.ui(paths, state.current_dataset(paths, settings.fetch), host, port)


def up(host: Host = "127.0.0.1") -> None:
    """Start the MLflow UI, Prefect with the schedules, and the prediction server; Ctrl-C stops all."""
    paths, settings = load_context()
    from flows import services
    from mnistflow.registry import reconciliation, versions
    from mnistflow.registry import status as state

    reconciliation.reconcile(paths, versions.model_name(state.current_dataset(paths, settings.fetch)))

    services.up(paths, settings, host)


def team_up() -> None:
    """Start a team's servers on this machine: PostgreSQL, S3, MLflow, Prefect, Dask, nginx ...; Ctrl-C stops all."""
    paths, settings = load_context()
    from flows.team import team

    team.up(paths, settings)


def _become(module: str, *arguments: str) -> None:
    """Replace this process by another program of this project, so that signals and exit codes are its own."""
    sys.stdout.flush()
    try:
        os.execv(sys.executable, [sys.executable, "-m", module, *arguments])  # noqa: S606
    except OSError as error:
        raise MnistflowError(f"cannot start {module}: {error.strerror}", "Run `make setup`.") from error
