"""Context of a command: the checkout, its configuration, and the environment of the tools used."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import typer

from mnistflow import environment
from mnistflow.paths import Paths

if TYPE_CHECKING:
    from mnistflow.config import Config


def load_context(overrides: list[str] | None = None) -> tuple[Paths, Config]:
    """Find the checkout, load its configuration, and set the environment of the tools used.

    Prints a warning about environment variables whose name is misspelt.

    Raises:
        ConfigError: no checkout, or params.yaml or an override is not valid.
    """
    # Imported here, because --help must not wait for the schema of params.yaml.
    from mnistflow import config

    if warning := environment.misspelt(os.environ):
        typer.secho(f"warning: {warning}", fg=typer.colors.YELLOW, err=True)
    paths = Paths.locate()
    environment.configure(paths)
    settings = config.load(paths.params)
    if overrides:
        settings = settings.with_values(config.parse_overrides(overrides))
    return paths, settings
