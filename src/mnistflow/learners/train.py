"""Stage train: fit the chosen family with the best parameters found, and keep the best epoch's weights."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from mnistflow import learners, lineage, splits, tasks
from mnistflow.files import atomic_write, read_json, remove, write_json
from mnistflow.learners.config import LearningConfig
from mnistflow.learners.learner import WATCHED, History, Learner, Training
from mnistflow.paths import Paths
from mnistflow.tasks import plots
from mnistflow.tracking import runs

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRecord:
    """What a training came to, as it is kept in `training.json`.

    Attributes:
        best: measures of the epoch whose weights are kept.
        learner: that can load what it has left.
        parameters: how many numbers the model consists of.
        seconds: spent fitting.
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


def tuned(paths: Paths, config: LearningConfig) -> LearningConfig:
    """Return the parameters with the best values that stage tune has found."""
    return config.with_values(read_json(paths.tuned / "best.json")["overrides"])


def train(paths: Paths, config: LearningConfig) -> TrainingRecord:
    """Fit on the training split; write the model, `training.json` and the learning curves."""
    config = tuned(paths, config)
    data = splits.load(paths.prepared)
    config.model.require_able(tasks.get(data.task), data.input_shape)
    learner = learners.of(config.model.chosen)
    learner.prepare(config.train)
    key = lineage.digest(data.data_sha256, config.model.model_dump(), config.train.model_dump())
    journal = paths.resume / f"train-{key}-{lineage.code_digest()}"
    journal.parent.mkdir(parents=True, exist_ok=True)
    with (
        FileLock(journal.with_suffix(".lock")),
        runs.stage_run(paths, data.name, "train") as run,
    ):
        run.log_params(config.flattened())

        def on_epoch(epoch: int, measures: Mapping[str, float]) -> None:
            # MLflow's comparison opens with the metric that was logged first.
            run.log_metrics(dict(sorted(measures.items(), reverse=True)), step=epoch)
            shown = ", ".join(f"{name} {value:.4f}" for name, value in measures.items())
            logger.info("epoch %d/%d: %s", epoch, learner.max_epochs(config.train), shown)

        training = learner.fit(data, config.model.chosen, config.train, on_epoch, journal)
        record = _record(config, training)
        _write(paths, learner, training, record)
    remove(journal)
    return record


def _record(config: LearningConfig, training: Training) -> TrainingRecord:
    return TrainingRecord(
        family=config.model.family,
        learner=config.model.chosen.learner,
        epochs=len(training.history[WATCHED]),
        best_epoch=training.best_epoch,
        best=training.best,
        history=training.history,
        parameters=training.parameters,
        seconds=round(training.seconds, 3),
        settings=config.flattened(),
    )


def _write(paths: Paths, learner: Learner[Any], training: Training, record: TrainingRecord) -> None:
    with atomic_write(paths.trained) as folder:
        folder.mkdir()
        learner.save(training.model, folder)
        write_json(folder / "training.json", asdict(record))
    with atomic_write(paths.reports / "train") as folder:
        folder.mkdir()
        plots.learning_curves(folder / "curves.png", training.history, training.best_epoch)
        _write_curves(folder / "curves.csv", training.history)
        summary = {f"best_{name}": value for name, value in record.best.items()}
        write_json(folder / "metrics.json", {**summary, "best_epoch": record.best_epoch, "epochs": record.epochs})


def _write_curves(path: Path, history: History) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["epoch", *history])
        rows.writerows([epoch, *values] for epoch, values in enumerate(zip(*history.values(), strict=True), start=1))
