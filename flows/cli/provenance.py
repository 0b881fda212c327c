"""Commands about where a version comes from: reproduce, lineage."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.context import load_context, resumable
from flows.cli.options import DatasetOption, Json, console
from mnistflow import logs

if TYPE_CHECKING:
    from mnistflow.config import Config
    from mnistflow.paths import Paths


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (reproduce, lineage):
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


def lineage(version: int, dataset: DatasetOption = None, as_json: Json = False) -> None:
    """Show where a version comes from: data, code, run, trials, model, decision; and since when it served."""
    paths, settings = load_context()
    from mnistflow.provenance import lineage_graph
    from mnistflow.registry import status, versions

    name = versions.model_name(status.choose_dataset(paths, settings.fetch, dataset))
    graph = lineage_graph.trace(paths, name, version)
    if as_json:
        typer.echo(json.dumps(asdict(graph), indent=2))
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None, title=f"{name} version {version}", title_justify="left")
    for heading, text in lineage_graph.lines(graph):
        table.add_row(f"[bold]{heading}", escape(text))
    console.print(table)


def _run_id(paths: Paths, settings: Config, model: str, dataset: str | None) -> str:
    """Return the id of a run, which may be named by the version that was registered from it."""
    if not (model.isdecimal() and len(model) < 10):
        return model
    from mnistflow.registry import status, versions

    return versions.find(versions.model_name(status.choose_dataset(paths, settings.fetch, dataset)), int(model)).run_id
