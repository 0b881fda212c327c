"""Options that several commands share, and the console that they print to."""

import sys
from typing import Annotated

import typer
from rich.console import Console

console = Console(width=None if sys.stdout.isatty() else 120)

Overrides = Annotated[
    list[str] | None, typer.Option("-S", "--set", metavar="KEY=VALUE", help="Override a parameter for this run.")
]
DatasetOption = Annotated[str | None, typer.Option("--dataset", help="Another data set than the one of params.yaml.")]
Preset = Annotated[
    list[str] | None,
    typer.Option("--preset", metavar="NAME", help="A named set of overrides from params.yaml; -S wins."),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
