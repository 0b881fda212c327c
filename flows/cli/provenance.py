"""Commands about where a version comes from: reproduce."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.context import load_context, resumable
from flows.cli.options import DatasetOption
from mnistflow import logs

if TYPE_CHECKING:
    from mnistflow.config import Config
    from mnistflow.paths import Paths


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (reproduce,):
        app.command()(command)


def reproduce(
    model: Annotated[str, typer.Argument(metavar="VERSION|RUN", help="Number of a version, or id of an MLflow run.")],
    dataset: DatasetOption = None,
) -> None:
    """Train a version or a run again from its record alone, and check that the same model comes out.

    Registers and publishes nothing. The exit code is 0 only if weights, or predictions on another machine, and the
    gate's verdict are the same; otherwise one line names the first input that is gone or differs.
    """
    logs.log_to_terminal()
    paths, settings = load_context()
    from mnistflow.provenance import reproduce as reproduction

    with resumable():
        done = reproduction.reproduce(paths, _run_id(paths, settings, model, dataset))
    typer.echo(f"run {done.run_id} is reproduced:")
    typer.echo(f"sources      {done.sources}, as recorded")
    typer.echo(f"data         {done.data}, as recorded")
    typer.echo(f"machine      {done.elsewhere or 'of the recorded class'}")
    typer.echo(f"weights      {'identical' if done.identical else 'rounded otherwise'}")
    typer.echo(f"predictions  {done.rows - done.disagreements:,} of {done.rows:,} the same")
    typer.echo(f"verdict      {done.decision or 'none'}, as recorded")


def _run_id(paths: Paths, settings: Config, model: str, dataset: str | None) -> str:
    """Return the id of a run, which may be named by the version that was registered from it."""
    if not (model.isdecimal() and len(model) < 10):
        return model
    from mnistflow.registry import status, versions

    return versions.find(versions.model_name(status.choose_dataset(paths, settings.fetch, dataset)), int(model)).run_id
