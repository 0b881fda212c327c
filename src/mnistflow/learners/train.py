"""Stage train: fits the configured family with the best hyperparameters of stage tune."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from mnistflow import learners, splits, tasks
from mnistflow.checkout import digests
from mnistflow.files import atomic_folder, read_json, remove, write_json
from mnistflow.learners.config import LearningConfig
from mnistflow.learners.learner import MONITORED, History, Learner, Training
from mnistflow.paths import Paths
from mnistflow.runtime import machine
from mnistflow.tasks.plots import charts
from mnistflow.tracking import runs

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRecord:
    """Result of a training, the content of `training.json`.

    Attributes:
        family: name of the model family.
        learner: name of the learner that loads the model.
        epochs: number of epochs trained.
        best_epoch: number of the epoch whose weights the model has, from 1.
        best: metrics of the best epoch.
        history: name of a metric -> its value after each epoch.
        parameters: number of the model's parameters.
        seconds: time spent fitting.
        settings: all parameters of the training, by dotted key, those included that it derives from the data.
        machine: what else the weights depend on; see `machine.describe`.
    """

    family: str
    learner: str
    epochs: int
    best_epoch: int
    best: Mapping[str, float]
    history: Mapping[str, list[float]]
    parameters: int
    seconds: float
    settings: Mapping[str, object]
    machine: Mapping[str, str]


def tuned(paths: Paths, config: LearningConfig) -> LearningConfig:
    """Return the parameters, overridden by the best hyperparameters of stage tune.

    Raises:
        DataError: `best.json` of stage tune is missing or damaged.
    """
    return config.with_values(read_json(paths.tuned / "best.json")["overrides"])


def train(paths: Paths, config: LearningConfig) -> TrainingRecord:
    """Fit a model to the training split; write the model, `training.json`, the learning curves and plots.

    An interrupted training of the same data, parameters and code is resumed.

    Raises:
        ConfigError: the family does not support the task, or a package is not installed.
        StageError: the training failed.
        DataError: the prepared data is missing or damaged.
    """
    config = tuned(paths, config)
    data = splits.load(paths.prepared)
    config.model.require_compatible(tasks.get(data.task), data.input_shape)
    learner = learners.for_family(config.model.chosen)
    learner.prepare(config.train)
    key = digests.digest(data.data_sha256, config.model.model_dump(), config.train.model_dump())
    checkpoint_folder = paths.resume / f"train-{key}-{digests.code_digest()}"
    checkpoint_folder.parent.mkdir(parents=True, exist_ok=True)
    with (
        FileLock(checkpoint_folder.with_suffix(".lock")),
        runs.stage_run(paths, data.name, "train") as run,
    ):
        settings = config.flattened() | learner.effective(config.train, len(data.train))
        run.log_params(settings)

        def on_epoch(epoch: int, metrics: Mapping[str, float]) -> None:
            # MLflow's comparison of runs starts with the metric that was logged first.
            run.log_metrics(dict(sorted(metrics.items(), reverse=True)), step=epoch)
            values = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items())
            logger.info("epoch %d/%d: %s", epoch, learner.max_epochs(config.train), values)

        training = learner.fit(data, config.model.chosen, config.train, on_epoch, checkpoint_folder)
        record = _record(config, training, settings)
        _write(paths, learner, training, record)
    remove(checkpoint_folder)
    return record


def _record(config: LearningConfig, training: Training, settings: Mapping[str, object]) -> TrainingRecord:
    return TrainingRecord(
        family=config.model.family,
        learner=config.model.chosen.learner,
        epochs=len(training.history[MONITORED]),
        best_epoch=training.best_epoch,
        best=training.best,
        history=training.history,
        parameters=training.parameters,
        seconds=round(training.seconds, 3),
        settings=settings,
        machine=machine.describe(config.train.backend),
    )


def _write(paths: Paths, learner: Learner[Any], training: Training, record: TrainingRecord) -> None:
    with atomic_folder(paths.trained) as folder:
        learner.save(training.model, folder)
        write_json(folder / "training.json", asdict(record))
    with atomic_folder(paths.reports / "train") as folder:
        _write_curves(folder / "curves.csv", training.history)
        pictures = folder / "pictures"
        pictures.mkdir()
        charts.learning_curves(pictures / "curves.png", training.history, training.best_epoch)
        learner.write_plots(training.model, pictures)
        summary = {f"best_{name}": value for name, value in record.best.items()}
        write_json(folder / "metrics.json", {**summary, "best_epoch": record.best_epoch, "epochs": record.epochs})


def _write_curves(path: Path, history: History) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["epoch", *history])
        rows.writerows([epoch, *values] for epoch, values in enumerate(zip(*history.values(), strict=True), start=1))
