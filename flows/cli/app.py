"""Composition of the command line, and how every command ends: exit code 0, or one error line and exit code 1."""

import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

import mnistflow
from flows.cli import (
    feedback,
    inspection,
    leaderboard,
    monitoring,
    prediction,
    promotion,
    provenance,
    services,
    stages,
    training,
    upkeep,
)
from mnistflow import errors
from mnistflow.errors import MnistflowError


def build() -> typer.Typer:
    """Return the application with all commands."""
    app = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True, add_completion=False)
    app.callback()(options)
    groups = (
        stages,
        training,
        leaderboard,
        inspection,
        monitoring,
        feedback,
        promotion,
        provenance,
        prediction,
        services,
        upkeep,
    )
    for group in groups:
        group.register(app)
    return app


def main() -> NoReturn:
    """Run the command line."""
    run(build())


def run(command: Callable[[], object]) -> NoReturn:
    """Run a command and exit; an error becomes one line and exit code 1, an unexpected one after its traceback."""
    try:
        with errors.in_one_line():
            command()
    except MnistflowError as error:
        typer.secho(f"error: {error}", fg=typer.colors.RED, err=True)
        sys.exit(1)
    sys.exit(0)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mnistflow {mnistflow.__version__}")
        raise typer.Exit


def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Train, compare, and serve models of small images."""
