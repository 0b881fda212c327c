"""Options that several commands share, and what they print with."""

from __future__ import annotations

import functools
import re
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from mnistflow.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import Console


Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "-S", "--set", metavar="KEY=VALUE", help="Override a parameter of params.yaml for this run; may be repeated."
    ),
]
DatasetOption = Annotated[str | None, typer.Option("--dataset", help="Data set; by default, that of params.yaml.")]
Preset = Annotated[
    list[str] | None,
    typer.Option("--preset", metavar="NAME", help="Named set of overrides in params.yaml; -S has precedence."),
]
VersionNumber = Annotated[int, typer.Argument(help="Version number.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Host = Annotated[str, typer.Option(help="Address to listen on.")]


def moment(text: str) -> datetime:
    """Return the time that an option names: ISO 8601, local time unless it has an offset, or an age such as `7d`.

    Raises:
        ConfigError: it is neither.
    """
    if age := re.fullmatch(r"(\d{1,6})([dh])", text):
        return datetime.now(UTC) - timedelta(**{"days" if age[2] == "d" else "hours": int(age[1])})
    try:
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError, OSError):
        raise ConfigError(f"{text!r} is not a time", "Try 2026-11-29, 2026-11-29T18:00, 7d or 12h.") from None


def dataset_option(dataset: str | None) -> str:
    """Return the option, after a space, by which a command that is proposed concerns this data set."""
    return f" --dataset {dataset}" if dataset else ""


def counted(number: int, noun: str) -> str:
    """Return `1 report` or `2 reports`."""
    return f"{number} {noun if number == 1 else f'{noun}s'}"


@functools.cache
def console() -> Console:
    """Return the console that commands print to."""
    # Imported here, because it takes a tenth of the time of a command that prints without it.
    from rich.console import Console

    return Console(width=None if sys.stdout.isatty() else 120)
