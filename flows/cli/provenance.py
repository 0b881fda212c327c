"""Commands about where a version comes from: reproduce, lineage, sign, verify."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from flows.cli.context import load_context, resumable
from flows.cli.options import DatasetOption, Json, VersionNumber, console
from mnistflow import environment, logs
from mnistflow.errors import ConfigError

if TYPE_CHECKING:
    from mnistflow.config import Config
    from mnistflow.paths import Paths
    from mnistflow.registry.versions import Version


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (reproduce, lineage, sign, verify):
        app.command()(command)


def reproduce(
    model: Annotated[str, typer.Argument(metavar="VERSION|RUN", help="Version number, or id of an MLflow run.")],
    dataset: DatasetOption = None,
) -> None:
    """Retrain a version or a run from its record, and check that the result is the same model.

    Registers and publishes nothing. The exit code is 0 only if weights, or predictions on another machine, and the
    gate's verdict are the same; otherwise one line names the first input that is missing or differs.
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
    typer.echo(f"weights      {'identical' if done.identical else 'rounded differently'}")
    typer.echo(f"predictions  {done.rows - done.disagreements:,} of {done.rows:,} the same")
    typer.echo(f"verdict      {done.decision or 'none'}, as recorded")


def lineage(
    version: VersionNumber,
    dataset: DatasetOption = None,
    as_json: Json = False,
    as_mermaid: Annotated[bool, typer.Option("--mermaid", help="Print a Mermaid diagram, for Markdown.")] = False,
    as_event: Annotated[bool, typer.Option("--openlineage", help="Print an OpenLineage event, as JSON.")] = False,
) -> None:
    """Show the lineage of a version: data, code, run, trials, model, the gate's decision, and when it served."""
    paths, found = _version(dataset, version)
    from mnistflow.provenance import lineage_graph

    graph = lineage_graph.trace(paths, found.name, version)
    if as_json:
        typer.echo(json.dumps(asdict(graph), indent=2))
        return
    if as_event:
        from mnistflow.provenance import open_lineage

        typer.echo(json.dumps(open_lineage.event(graph), indent=2))
        return
    if as_mermaid:
        typer.echo(lineage_graph.mermaid(graph))
        return
    from rich.markup import escape
    from rich.table import Table

    table = Table(show_header=False, box=None, title=f"{found.name} version {version}", title_justify="left")
    for heading, text in lineage_graph.lines(graph):
        table.add_row(f"[bold]{heading}", escape(text))
    console().print(table)


def sign(
    version: VersionNumber,
    dataset: DatasetOption = None,
    key: Annotated[
        Path | None, typer.Option(help=f"File with the private key (PEM); by default, {environment.SIGNING_KEY}.")
    ] = None,
) -> None:
    """Sign a version, its model card and its other documents with a private key."""
    paths, found = _version(dataset, version)
    from mnistflow.provenance import signature

    signature.sign(paths, found, _key(key, environment.SIGNING_KEY))
    typer.echo(f"signed: {found.title}")


def verify(
    version: VersionNumber,
    dataset: DatasetOption = None,
    key: Annotated[
        Path | None, typer.Option(help=f"File with the public key (PEM); by default, {environment.PUBLIC_KEY}.")
    ] = None,
) -> None:
    """Verify the signature of a version and its documents with a public key."""
    paths, found = _version(dataset, version)
    from mnistflow.provenance import signature

    places = signature.verify(paths, found, _key(key, environment.PUBLIC_KEY))
    typer.echo(f"as signed: {found.title} in {' and '.join(places)}")


def _version(dataset: str | None, number: int) -> tuple[Paths, Version]:
    paths, settings = load_context()
    from mnistflow.registry import dataset_choice, versions

    return paths, versions.find(dataset_choice.choose_model(paths, settings.fetch, dataset), number)


def _key(given: Path | None, variable: str) -> Path:
    named = os.environ.get(variable)
    if given is None and not named:
        raise ConfigError("no key is given", f"Name its file with --key or in {variable}.")
    return given or Path(named or "")


def _run_id(paths: Paths, settings: Config, model: str, dataset: str | None) -> str:
    """Return the id of a run, which may be named by the version that was registered from it."""
    if not (model.isdecimal() and len(model) < 10):
        return model
    from mnistflow.registry import dataset_choice, versions

    return versions.find(dataset_choice.choose_model(paths, settings.fetch, dataset), int(model)).run_id
