"""Commands of the DVC stages: fetch, prepare, tune, train, export, evaluate."""

from collections.abc import Callable

import typer

from flows.cli.context import load_context, resumable
from flows.cli.options import Overrides
from mnistflow import logs
from mnistflow.pipeline import stages

HELP = {
    "fetch": "Fetch the raw files of the data set from the first mirror that has them, and verify them.",
    "prepare": "Check the data, report on it, and split it.",
    "tune": "Search for hyperparameters on the validation split.",
    "train": "Fit the model with early stopping.",
    "export": "Convert the model to ONNX and prove that it computes the same.",
    "evaluate": "Evaluate the ONNX file on the test split.",
}


def register(app: typer.Typer) -> None:
    """Add one command a stage."""
    for stage, text in HELP.items():
        app.command(stage, help=text)(_command(stage))


def _command(stage: str) -> Callable[[Overrides], None]:
    def run(overrides: Overrides = None) -> None:
        logs.log_to_terminal()
        paths, settings = load_context(overrides)
        with resumable():
            stages.run(stage, paths, settings)

    return run
