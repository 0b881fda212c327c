"""Commands of the DVC stages: fetch, prepare, tune, train, export, evaluate."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from flows.cli.context import load_context, resumable
from flows.cli.options import Overrides
from mnistflow import environment, logs
from mnistflow.pipeline import stages
from mnistflow.workers import signals

if TYPE_CHECKING:
    from mnistflow.config import Config
    from mnistflow.paths import Paths

HELP = {
    "fetch": "Fetch the raw files of the data set from the first mirror that has them, and verify them.",
    "prepare": "Check the data, report on it, and split it.",
    "tune": "Search for hyperparameters on the validation split.",
    "train": "Fit the model with early stopping.",
    "export": "Convert the model to ONNX, and check its predictions against the trained model.",
    "evaluate": "Evaluate the ONNX file on the test split.",
}


def register(app: typer.Typer) -> None:
    """Add one command a stage."""
    for stage, text in HELP.items():
        app.command(stage, help=text)(_command(stage))


def _command(stage: str) -> Callable[[Overrides], None]:
    def run(overrides: Overrides = None) -> None:
        if environment.is_stage_of_dvc(os.environ):
            _import_from(Path.cwd())
        logs.log_to_terminal()
        paths, settings = load_context(overrides)
        with resumable(), _run_of(stage, paths, settings), signals.interrupting_until_raised():
            stages.run(stage, paths, settings)

    return run


def _import_from(workspace: Path) -> None:
    """Replace this process by one that imports the sources of the workspace, which are those that DVC has hashed.

    The `mnistflow` command imports those of the checkout, which are others while `dvc exp run --temp` or `--queue`
    executes an experiment.
    """
    sources = workspace / "src"
    if (sources / "mnistflow").is_dir() and not Path(logs.__file__).resolve().is_relative_to(sources.resolve()):
        folders = [str(sources), str(workspace), *filter(None, [os.environ.get("PYTHONPATH")])]
        variables = {**os.environ, "PYTHONPATH": os.pathsep.join(folders)}
        os.execve(sys.executable, [sys.executable, "-m", "flows", *sys.argv[1:]], variables)  # noqa: S606


def _run_of(stage: str, paths: Paths, settings: Config) -> AbstractContextManager[None]:
    """Return the context of the MLflow run that the stage logs to; without DVC, it starts one of its own."""
    if not environment.is_stage_of_dvc(os.environ):
        return nullcontext()
    from mnistflow.pipeline import dvc_run

    return dvc_run.joined(stage, paths, settings)
