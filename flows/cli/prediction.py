"""Commands that predict without a server: predict, score."""

from pathlib import Path
from typing import Annotated

import typer

from flows.cli.context import exec_module, load_context, load_fetch_context
from flows.cli.options import DatasetOption

BLOCK_ROWS = 10_000


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (predict, score):
        app.command()(command)


def predict(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Image files.")],
    dataset: DatasetOption = None,
) -> None:
    """Classify PNG, JPEG, WebP, BMP or GIF files of any size with the champion."""
    paths, config = load_fetch_context()
    from mnistflow.registry import dataset_choice

    model = dataset_choice.choose_model(paths, config, dataset)
    exec_module("serving.predict", "--repository", str(paths.models), "--model", model, "--", *map(str, images))


def score(
    input: Annotated[  # the name that users see
        str, typer.Argument(help="Folder of images, .npz, .npy or Parquet; a path, or a URL such as s3://bucket/...")
    ],
    output: Annotated[str, typer.Argument(help="Folder for the Parquet files; a path or a URL.")],
    version: Annotated[
        int | None, typer.Option("--version", metavar="N", min=1, help="Version to use instead of the champion.")
    ] = None,
    block: Annotated[int, typer.Option(metavar="ROWS", min=1, help="Rows per Parquet file.")] = BLOCK_ROWS,
    workers: Annotated[int, typer.Option(metavar="N", min=0, help="Processes; 0 for one per core.")] = 0,
    scheduler: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Address of a Dask scheduler, whose workers compute; by default, as for a search.",
        ),
    ] = None,
    dataset: DatasetOption = None,
) -> None:
    """Predict every row of a data set, on all cores or a Dask cluster; the same command resumes after a kill."""
    paths, config = load_context()
    from mnistflow.registry import dataset_choice, versions
    from mnistflow.registry.repository import publisher
    from mnistflow.workers import dask_scheduler

    address = dask_scheduler.find(scheduler or config.tune.scheduler)
    if address:
        dask_scheduler.connect(address).close()
    name = dataset_choice.choose_model(paths, config.fetch, dataset)
    if version:
        with publisher.locked(paths, name):
            publisher.publish(paths, versions.find(name, version))
    options = {
        "--repository": paths.models,
        "--model": name,
        "--version": version,
        "--scheduler": address,
        "--block": block,
        "--workers": workers,
    }
    # Without a value, the default holds; that of workers is 0.
    given = (text for option, value in options.items() if value for text in (option, str(value)))
    exec_module("serving.scoring", *given, "--", input, output)
