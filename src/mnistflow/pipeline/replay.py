"""Entry point of `mnistflow reproduce` into the sources of a recorded run, which may be older than the command.

A worker process imports this module from the recorded sources. So its name and its plain arguments stay as they are,
while everything that it calls may change.
"""

from __future__ import annotations

from pathlib import Path

from mnistflow import config, logs
from mnistflow.paths import Paths
from mnistflow.pipeline import stages
from mnistflow.tracking import runs


def run_stage(job: tuple[str, str, str, str]) -> None:
    """Run one stage in a workspace.

    Args:
        job: name of the stage, folder of the workspace, folder of the checkout, and id of the MLflow run to log to.

    Raises:
        MnistflowError: the stage failed.
    """
    stage, root, checkout, run_id = job
    paths = Paths(Path(root), Path(checkout))
    settings = config.load(paths.params)
    logs.log_to_terminal()
    with runs.stages_log_to(run_id):
        stages.run(stage, paths, settings, paths.root / "logs" / f"{stage}.log")
