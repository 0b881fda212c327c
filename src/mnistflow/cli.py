"""The stages as commands, and how every command ends: one outcome line, or one error line and exit code 1."""

import logging
import sys
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer

from mnistflow import config, environment, errors, stages
from mnistflow.config import Config
from mnistflow.errors import MnistflowError
from mnistflow.project import Project

application = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True, add_completion=False)

Overrides = Annotated[
    list[str] | None, typer.Option("-S", "--set", metavar="KEY=VALUE", help="Override a parameter for this run.")
]


def run(app: Callable[[], object]) -> NoReturn:
    """Run a command line application; errors become one line and exit code 1, unforeseen ones after their traceback."""
    try:
        with errors.in_one_line():
            app()
    except MnistflowError as error:
        fail(str(error))
    sys.exit(0)


def fail(message: str) -> NoReturn:
    """Print one error line and exit with 1."""
    typer.secho(f"error: {message}", fg=typer.colors.RED, err=True)
    sys.exit(1)


def start(overrides: list[str] | None = None) -> tuple[Project, Config]:
    """Find the project, load its configuration, and set the environment of the tools used.

    Raises:
        ConfigError: no project, or params.yaml or an override is not valid.
    """
    project = Project.locate()
    environment.configure(project)
    settings = config.load(project.params)
    if overrides:
        settings = settings.with_values(config.parse_overrides(overrides))
    return project, settings


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return f"{record.levelname}: {line}" if record.levelno >= logging.WARNING else line


def log_to_terminal() -> None:
    """Show this package's messages as lines on standard error; what libraries say only when it is a warning."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Lines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("mnistflow").setLevel(logging.INFO)
    logging.getLogger("mlflow").setLevel(logging.WARNING)


def _run_stage(stage: str, overrides: list[str] | None) -> None:
    log_to_terminal()
    project, settings = start(overrides)
    stages.run(stage, project, settings)


@application.command()
def fetch(overrides: Overrides = None) -> None:
    """Fetch the raw files of the data set from the first mirror that has them, and verify them."""
    _run_stage("fetch", overrides)


@application.command()
def prepare(overrides: Overrides = None) -> None:
    """Check the data, report on it, and split it."""
    _run_stage("prepare", overrides)


@application.command()
def tune(overrides: Overrides = None) -> None:
    """Search for hyperparameters on the validation split."""
    _run_stage("tune", overrides)


@application.command()
def train(overrides: Overrides = None) -> None:
    """Fit the model with early stopping."""
    _run_stage("train", overrides)


@application.command()
def export(overrides: Overrides = None) -> None:
    """Convert the model to ONNX and prove that it computes the same."""
    _run_stage("export", overrides)


@application.command()
def evaluate(overrides: Overrides = None) -> None:
    """Judge the ONNX file on the test split."""
    _run_stage("evaluate", overrides)
