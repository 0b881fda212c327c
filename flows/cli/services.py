"""Commands that serve: serve, follow, schedule, ui, up, team-up."""

import os
import sys
from datetime import UTC, datetime
from typing import Annotated

import typer

from flows.cli.context import exec_module, load_context, load_fetch_context
from flows.cli.options import Host
from mnistflow.workers import signals

FOLLOW_SECONDS = 5.0


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (serve, follow, schedule, ui, up, team_up):
        app.command()(command)


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.", envvar="MNISTFLOW_SERVE_HOST")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(help="Port to listen on; 0 chooses a free one.", envvar="MNISTFLOW_SERVE_PORT")
    ] = 8000,
    following: Annotated[
        bool, typer.Option("--follow", help="Also follow the registry, as `mnistflow follow` does.")
    ] = False,
) -> None:
    """Serve the champions of the model repository over HTTP; `mnistflow-serve` has all settings."""
    paths, settings = load_context()
    from flows import services
    from mnistflow import server_client
    from mnistflow.checkout import service_lock

    if following:
        services.serve_following(paths, settings, host, port)
        return
    with service_lock.shared(paths):
        if port:
            server_client.record_address(paths, server_client.url(host, port))
        exec_module(*services.server_command(paths, settings, host, port))


def follow(
    every: Annotated[float, typer.Option(metavar="SECONDS", min=0.1, help="Seconds between polls.")] = FOLLOW_SECONDS,
    keep: Annotated[
        int, typer.Option(metavar="N", min=0, help="Versions to keep besides those with an alias or in a rollout.")
    ] = 3,
    once: Annotated[
        bool, typer.Option("--once", help="Bring the repository up to date and exit, with code 1 if that fails.")
    ] = False,
    dataset: Annotated[
        list[str] | None, typer.Option("--dataset", help="Data set whose model is followed; may be repeated.")
    ] = None,
) -> None:
    """Keep the model repository of this machine in sync with the registry, whichever machine promotes."""
    paths, config = load_fetch_context()
    from mnistflow.checkout import service_lock
    from mnistflow.registry import versions
    from mnistflow.registry.repository.follower import Follower

    # Without the registry's word on which of the two is used: it may be away at the start.
    chosen = dataset or [name for name in (config.dataset, config.fallback) if name]
    follower = Follower(paths, [versions.model_name(name) for name in chosen], keep, _print_with_time)
    if once:
        follower.follow_all()
        return
    try:
        with service_lock.shared(paths), signals.interrupting():
            follower.run(every)
    except KeyboardInterrupt:
        sys.stdout.flush()
        os._exit(0)  # at once: threads of a download that hangs are given up


def _print_with_time(line: str) -> None:
    typer.echo(f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} {line}")
    sys.stdout.flush()


def schedule() -> None:
    """Run the deployments of prefect.yaml on their schedules until Ctrl-C."""
    paths, _ = load_context()
    from flows import services

    services.schedule(paths)


def ui(host: Host = "127.0.0.1", port: Annotated[int, typer.Option(help="Port to listen on.")] = 5000) -> None:
    """Start the MLflow UI, and print the address of the runs of the data set, best first."""
    paths, settings = load_context()
    from flows import services
    from mnistflow.registry import dataset_choice

    services.ui(paths, dataset_choice.current(paths, settings.fetch), host, port)


def up(host: Host = "127.0.0.1") -> None:
    """Start the MLflow UI, Prefect with the schedules, and the prediction server; Ctrl-C stops all of them."""
    paths, settings = load_context()
    from flows import services
    from mnistflow.registry import dataset_choice, versions
    from mnistflow.registry.repository import reconciliation

    reconciliation.reconcile(paths, versions.model_name(dataset_choice.current(paths, settings.fetch)))

    services.up(paths, settings, host)


def team_up() -> None:
    """Start a team's servers on this machine: PostgreSQL, S3, MLflow, Prefect, Dask, nginx ...; Ctrl-C stops them."""
    paths, settings = load_context()
    from flows.team import team

    team.up(paths, settings)
