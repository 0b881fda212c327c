"""Command that moves MLflow's store to another database and artifact store: migrate."""

import os
from typing import Annotated

import typer

from flows.cli.context import load_fetch_context


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(migrate)


def migrate(
    to: Annotated[str, typer.Argument(metavar="DATABASE", help="Such as postgresql://user@host/mlflow.")],
    artifacts: Annotated[str, typer.Argument(metavar="ARTIFACTS", help="Folder, or URL such as s3://bucket/mlflow.")],
    from_artifacts: Annotated[
        str | None, typer.Option(metavar="ARTIFACTS", help="Where they are now, if a tracking server hides that.")
    ] = None,
    served: Annotated[
        bool, typer.Option("--served", help="A tracking server is to serve ARTIFACTS, its --artifacts-destination.")
    ] = False,
) -> None:
    """Copy runs, models and artifacts from the store of MLFLOW_TRACKING_URI to another, in either direction."""
    load_fetch_context()
    from mnistflow.tracking import migration

    done = migration.migrate(os.environ["MLFLOW_TRACKING_URI"], to, from_artifacts, artifacts, served)
    rows = done.rows
    typer.echo(
        f"{rows['runs']} runs, {rows['registered_models']} models, {rows['model_versions']} versions, "
        f"{done.files} artifacts ({done.copied} copied now): read back, complete"
    )
