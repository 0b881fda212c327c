"""Context of a command: the checkout, its configuration, the environment of the tools used, and how it may end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from mnistflow import environment
from mnistflow.errors import MnistflowError
from mnistflow.paths import Paths
from mnistflow.workers import signals

if TYPE_CHECKING:
    from flows.orchestration.notifications import Event
    from mnistflow.config import Config
    from mnistflow.data.config import FetchConfig


def load_context(overrides: list[str] | None = None) -> tuple[Paths, Config]:
    """Find the checkout, load its configuration, and set the environment of the tools used.

    Prints a warning about environment variables whose name is misspelt.

    Raises:
        ConfigError: no checkout, or params.yaml or an override is not valid.
    """
    # Imported here, because --help must not wait for the schema of params.yaml.
    from mnistflow import config

    paths = _locate()
    settings = config.load(paths.params)
    if overrides:
        settings = settings.with_values(config.parse_overrides(overrides))
    return paths, settings


def load_fetch_context() -> tuple[Paths, FetchConfig]:
    """Like `load_context`, for a command that needs only the section `fetch`; the others are not checked.

    Raises:
        ConfigError: no checkout, or the section is not valid.
    """
    from mnistflow import yaml_files
    from mnistflow.data.config import FetchConfig

    paths = _locate()
    tree = yaml_files.read(paths.params)
    section = tree.get("fetch") if isinstance(tree, dict) else None
    return paths, FetchConfig.validated(section, f"{paths.params}: fetch")


def _locate() -> Paths:
    if warning := environment.misspelt(os.environ):
        typer.secho(f"warning: {warning}", fg=typer.colors.YELLOW, err=True)
    paths = Paths.locate()
    if environment.is_stage_of_dvc(os.environ):
        # `dvc exp run --temp` and `--queue` execute stages in a temporary copy of the checkout.
        paths = Paths(paths.root, Path(os.environ["DVC_ROOT"]))
    environment.configure(paths)
    return paths


def notify(paths: Paths, event: Event, subject: str, text: str) -> None:
    """Send a notification, to the Prefect server of a running `schedule` or `up`, too."""
    from flows.orchestration import notifications, server_address

    notifications.send(notifications.Notification(event, subject, text), server_address.running_server(paths))


@contextmanager
def resumable() -> Iterator[None]:
    """End a command that can be resumed with one line and exit code 130 when a signal stops it in the block."""
    try:
        with signals.interrupting():
            yield
    except KeyboardInterrupt:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # another Ctrl-C would only change the exit code
        typer.echo("interrupted: the same command resumes where this one stopped", err=True)
        raise typer.Exit(130) from None


def exec_module(module: str, *arguments: str) -> None:
    """Replace this process by another program of this project, so that signals and exit codes are its own.

    Raises:
        MnistflowError: the program cannot be started.
    """
    sys.stdout.flush()
    # These programs multiply no matrices by NumPy, whose threads, one a core, spin for 0.1 s when it starts.
    variables = {"OPENBLAS_NUM_THREADS": "1"} | os.environ
    try:
        os.execve(sys.executable, [sys.executable, "-m", module, *arguments], variables)  # noqa: S606
    except OSError as error:
        raise MnistflowError(f"cannot start {module}: {error.strerror}", "Run `make setup`.") from error
