"""The record of a run in MLflow: everything another person needs to understand, compare and repeat it."""

from __future__ import annotations

import json
import platform
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mnistflow import files, metric_names, splits
from mnistflow.checkout import git
from mnistflow.config import Config
from mnistflow.data import fetch, raw
from mnistflow.evaluation import evaluate
from mnistflow.evaluation.evaluate import Evaluation
from mnistflow.paths import Paths
from mnistflow.pipeline import sources
from mnistflow.registry import weights
from mnistflow.splits import Dataset
from mnistflow.tracking import runs
from mnistflow.tracking.client import mlflow_client

PACKAGES = ("mlflow", "dvc", "prefect", "optuna")  # besides those that a training depends on
PREDICTIONS = "predictions.npz"  # artifact: outputs on the test split
TRIALS = "tune/trials.json"
DATA = "data.json"
ENVIRONMENT = "environment.json"


def record(workspace: Paths, run: runs.Run, config: Config, executing: str | None = None) -> Evaluation:
    """Log parameters, curves, metrics, data, sources and reports of a finished pipeline to its run.

    Args:
        executing: stage under DVC that calls this function; dvc.lock does not describe its outputs yet.
    """
    data = splits.load(workspace.prepared)
    training = files.read_json(workspace.trained / "training.json")
    evaluation = evaluate.load(workspace)
    run.log_params(
        {
            **training["settings"],
            "prepare.validation_fraction": config.prepare.validation_fraction,
            "prepare.train_limit": config.prepare.train_limit,
            "prepare.seed": config.prepare.seed,
            "tune.trials": config.tune.trials,
            "export.views": config.export.views,
            "data.name": data.name,
            "data.sha256": data.data_sha256[:12],
            "data.train_examples": len(data.train),
            "data.test_examples": len(data.test),
        }
    )
    _log_curves(run, training["history"])
    run.log_metrics(
        {
            **{f"best_{name}": value for name, value in training["best"].items()},
            "best_epoch": training["best_epoch"],
            metric_names.EPOCHS: training["epochs"],
            metric_names.TRAIN_SECONDS: training["seconds"],
            metric_names.PARAMETERS: training["parameters"],
            **evaluation.logged,
            **_search_summary(files.read_json(workspace.tuned / "trials.json")),
        }
    )
    run.set_tags({runs.DATASET: data.name, runs.WEIGHTS: weights.digest(workspace.exported / "model.onnx")})
    _log_dataset(run, data)
    run.log_json(_data_record(workspace, config, data), DATA)
    _log_files(workspace, run, training["machine"])
    _log_sources(workspace, run)
    _log_lock(workspace.root / "dvc.lock", run, executing)
    return evaluation


def _search_summary(trials: list[dict[str, Any]]) -> dict[str, float]:
    losses = [trial["loss"] for trial in trials if trial["loss"] is not None]
    return {
        "tune.trials": len(trials),
        "tune.pruned": len(trials) - len(losses),
        "tune.epochs": sum(trial["epochs"] for trial in trials),
        **({"tune.best_val_loss": min(losses)} if losses else {}),
    }


def _log_curves(run: runs.Run, history: Mapping[str, list[float]]) -> None:
    """Epochs that another run trained, taken from the cache, belong into this run too."""
    logged = {metric.step for metric in mlflow_client().get_metric_history(run.run_id, "val_loss")}
    for epoch, values in enumerate(zip(*history.values(), strict=True), start=1):
        if epoch not in logged:
            run.log_metrics(dict(zip(history, values, strict=True)), step=epoch)


def _log_dataset(run: runs.Run, data: Dataset) -> None:
    from mlflow.entities import Dataset as LoggedDataset
    from mlflow.entities import DatasetInput, InputTag
    from mlflow.exceptions import MlflowException

    profile = {name: len(split) for name, split in data.splits.items()}
    logged = LoggedDataset(
        name=data.name,
        digest=data.data_sha256[:8],
        source_type="dvc",
        source=json.dumps({"path": "var/data/prepared", "sha256": data.data_sha256}),
        schema=json.dumps({"input_shape": data.input_shape, "classes": data.classes}),
        profile=json.dumps(profile),
    )
    inputs = [DatasetInput(logged, [InputTag("mlflow.data.context", "training")])]
    try:
        mlflow_client().log_inputs(run.run_id, inputs)
    except MlflowException:
        # MLflow inserts a data set that it does not find; of two runs that are its first ones at the same moment, one
        # fails, and finds it at its second attempt.
        mlflow_client().log_inputs(run.run_id, inputs)


def _data_record(workspace: Paths, config: Config, data: Dataset) -> dict[str, Any]:
    """Return what the data is, and where it comes from."""
    return {
        "name": data.name,
        "task": data.task,
        "classes": data.classes,
        "input_shape": data.input_shape,
        "sha256": data.data_sha256,
        "splits": {name: {"examples": len(split), "sha256": data.sha256[name]} for name, split in data.splits.items()},
        "raw": raw.load(workspace.raw).model_dump(mode="json")["files"],
        "sources": fetch.sources(workspace, data.name),
        "own": config.fetch.own.get(data.name),
        "feedback": {
            "examples": data.feedback,
            "validation": data.feedback_validation,
            "until": config.prepare.feedback_until,
        },
    }


def _log_files(workspace: Paths, run: runs.Run, machine: Mapping[str, str]) -> None:
    run.log_file(workspace.params)
    run.log_folder(workspace.reports, "reports")
    run.log_file(workspace.tuned / "trials.json", "tune")
    run.log_file(workspace.evaluated / PREDICTIONS)
    environment = {
        **machine,
        "platform": platform.platform(),
        **{package: version(package) for package in PACKAGES},
    }
    run.log_text(json.dumps(environment, indent=2), ENVIRONMENT)


def _log_sources(workspace: Paths, run: runs.Run) -> None:
    """Log the sources of a run, unless they are those of a commit."""
    if not git.has_all_sources(runs.read(run.run_id).tags.get(runs.COMMIT, "")):
        with tempfile.TemporaryDirectory() as folder:
            run.log_file(sources.pack(workspace.root, Path(folder)))


def _log_lock(lock: Path, run: runs.Run, executing: str | None) -> None:
    from dvc.utils.serialize import dumps_yaml, load_yaml

    content = load_yaml(lock)
    content["stages"].pop(executing, None)
    run.log_text(dumps_yaml(content), lock.name)
