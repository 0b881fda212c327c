"""The stages as commands, and how every command ends: one outcome line, or one error line and exit code 1."""

import faulthandler
import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Thread
from typing import Annotated, NoReturn

import psutil
import typer

from mnistflow import config, environment
from mnistflow.config import Config
from mnistflow.errors import MnistflowError
from mnistflow.pipeline import LOGS_VARIABLE, OWNER_VARIABLE
from mnistflow.project import Project

OWNER_POLL_SECONDS = 0.5

stages = typer.Typer(pretty_exceptions_enable=False, no_args_is_help=True, add_completion=False)

Overrides = Annotated[
    list[str] | None, typer.Option("-S", "--set", metavar="KEY=VALUE", help="Override a parameter for this run.")
]


def run(app: Callable[[], object]) -> NoReturn:
    """Run a command line application; errors become one line and exit code 1, unforeseen ones after their traceback."""
    try:
        app()
    except MnistflowError as error:
        fail(str(error))
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fail(f"{where}{error.strerror or error}. Check that the disk has space and this user may write there.")
    except Exception as error:
        logging.getLogger(__name__).exception("not foreseen")
        fail(f"{type(error).__name__}, which was not foreseen: {' '.join(str(error).split())}")
    sys.exit(0)


def fail(message: str) -> NoReturn:
    """Print one error line, or leave it for the flow that started this stage, and exit with 1."""
    stage = sys.argv[1] if len(sys.argv) > 1 else ""
    if folder := os.environ.get(LOGS_VARIABLE):
        Path(folder, f"{stage}.error").write_text(message, encoding="utf-8")
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


def _start_stage(stage: str, overrides: list[str] | None) -> tuple[Project, Config]:
    log_to_terminal()
    if folder := os.environ.get(LOGS_VARIABLE):
        _log_to_file(Path(folder, f"{stage}.log"))
    end_with_owner()
    return start(overrides)


def end_with_owner() -> None:
    """Let this process end when the one that started it has ended, in whatever way."""
    if owner := os.environ.get(OWNER_VARIABLE):
        Thread(target=_end_with, args=(int(owner),), daemon=True).start()


def _end_with(owner: int) -> None:
    """What was killed must not go on in its children: the next start goes on with the same journals."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(owner)
        while process.status() != psutil.STATUS_ZOMBIE and process.is_running():
            time.sleep(OWNER_POLL_SECONDS)
    os._exit(1)


def _log_to_file(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.getLogger().addHandler(handler)
    # The file stays open for as long as the process lives.
    faulthandler.enable(path.open("a", encoding="utf-8"))


def _done(line: str) -> None:
    logging.getLogger("mnistflow").info(line)


@stages.command()
def fetch(overrides: Overrides = None) -> None:
    """Fetch the raw files of the data set from the first mirror that has them, and verify them."""
    from mnistflow.data import fetch as stage

    project, settings = _start_stage("fetch", overrides)
    done = stage.fetch(project, settings.fetch)
    _done(f"fetched {done.dataset}: {done.files} files, {done.bytes / 1e6:.1f} MB, sha256 {done.sha256[:12]}")


@stages.command()
def prepare(overrides: Overrides = None) -> None:
    """Check the data, report on it, and split it."""
    from mnistflow.data import prepare as stage

    project, settings = _start_stage("prepare", overrides)
    done = stage.prepare(project, settings.prepare)
    said = f" ({done.feedback} of them from feedback)" if done.feedback else ""
    _done(
        f"prepared {done.dataset}: {done.train} training{said}, {done.validation} validation, {done.test} test examples"
    )


@stages.command()
def tune(overrides: Overrides = None) -> None:
    """Search for hyperparameters on the validation split."""
    from mnistflow import tune as stage

    project, settings = _start_stage("tune", overrides)
    search = stage.tune(project, settings)
    _done(
        f"tuned {settings.model.family}: {len(search.trials)} trials, best {dict(search.best) or 'as in params.yaml'}"
    )


@stages.command()
def train(overrides: Overrides = None) -> None:
    """Fit the model with early stopping."""
    from mnistflow import train as stage

    project, settings = _start_stage("train", overrides)
    done = stage.train(project, settings)
    kept = ", ".join(f"{name} {value:.4f}" for name, value in done.best.items() if name.startswith("val_"))
    _done(f"trained {done.family}: {done.epochs} epochs in {done.seconds:.0f} s, kept epoch {done.best_epoch} ({kept})")


@stages.command()
def export(overrides: Overrides = None) -> None:
    """Convert the model to ONNX and prove that it computes the same."""
    from mnistflow import export as stage

    project, settings = _start_stage("export", overrides)
    done = stage.export(project, settings)
    _done(
        f"exported {done.bytes / 1e6:.2f} MB: {done.parity.rows} of {done.parity.rows} predictions as trained, "
        f"largest difference {done.parity.max_gap:.1e}"
    )


@stages.command()
def evaluate(overrides: Overrides = None) -> None:
    """Judge the ONNX file on the test split."""
    from mnistflow import evaluate as stage

    project, settings = _start_stage("evaluate", overrides)
    done = stage.evaluate(project, settings)
    shown = ", ".join(f"{name} {value:.4g}" for name, value in done.metrics.items())
    _done(f"evaluated on {done.test_sha256[:12]}: {shown}")
