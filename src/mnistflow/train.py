"""Stage train: fit the chosen family with the best parameters found, and keep the best epoch's weights."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock

from mnistflow import learners, lineage, tasks, tracking
from mnistflow.config import Config
from mnistflow.data import catalog, splits
from mnistflow.files import atomic_write, read_json, remove, write_json
from mnistflow.learners.learner import WATCHED, History, Learner, Training
from mnistflow.project import Project
from mnistflow.tasks import pictures

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


def tuned_config(project: Project, config: Config) -> Config:
    """Return the configuration with the best parameters of stage tune in place."""
    return config.with_values(read_json(project.tuned / "best.json")["overrides"])


def require_able(config: Config, dataset: str) -> None:
    """Check that the chosen family can learn from the data set of that name, before there is any data.

    Raises:
        ConfigError: it cannot, or what it needs is not installed.
    """
    entry = catalog.described(dataset, ())
    config.model.require_able(tasks.get(entry.task), entry.input_shape)
    learners.of(config.model.chosen).require(config.model.chosen, config.train)


def pin(config: Config, dataset: str) -> dict[str, Any]:
    """Return the parameters, by dotted key, that make definite what a training takes beside the data.

    Raises:
        ConfigError: the family cannot learn from such data.
        MnistflowError: what it takes is not there.
    """
    require_able(config, dataset)
    family = config.model.chosen
    pinned = learners.of(family).pin(family, dataset)
    return {f"model.{config.model.family}.{name}": value for name, value in pinned.items()}


def train(project: Project, config: Config) -> TrainingRecord:
    """Fit on the training split; write the model, `training.json` and the learning curves."""
    config = tuned_config(project, config)
    data = splits.load(project.prepared)
    config.model.require_able(tasks.get(data.task), data.input_shape)
    learner = learners.of(config.model.chosen)
    learner.prepare(config.train)
    key = lineage.digest(data.data_sha256, config.model.model_dump(), config.train.model_dump())
    journal = project.resume / f"train-{key}-{lineage.code_digest()}"
    journal.parent.mkdir(parents=True, exist_ok=True)
    with (
        FileLock(journal.with_suffix(".lock")),
        tracking.stage_run(project, data.name, "train") as run,
    ):
        run.log_params(tracking.parameters(config))

        def on_epoch(epoch: int, measures: Mapping[str, float]) -> None:
            # MLflow's comparison opens with the metric that was logged first.
            run.log_metrics(dict(sorted(measures.items(), reverse=True)), step=epoch)
            shown = ", ".join(f"{name} {value:.4f}" for name, value in measures.items())
            logger.info("epoch %d/%d: %s", epoch, learner.max_epochs(config.train), shown)

        training = learner.fit(data, config.model.chosen, config.train, on_epoch, journal)
        record = _record(config, training)
        _write(project, learner, training, record)
    remove(journal)
    return record


def _record(config: Config, training: Training) -> TrainingRecord:
    return TrainingRecord(
        family=config.model.family,
        learner=config.model.chosen.learner,
        epochs=len(training.history[WATCHED]),
        best_epoch=training.best_epoch,
        best=training.best,
        history=training.history,
        parameters=training.parameters,
        seconds=round(training.seconds, 3),
        settings=tracking.parameters(config),
    )


def _write(project: Project, learner: Learner[Any], training: Training, record: TrainingRecord) -> None:
    with atomic_write(project.trained) as folder:
        folder.mkdir()
        learner.save(training.model, folder)
        write_json(folder / "training.json", asdict(record))
    with atomic_write(project.reports / "train") as folder:
        folder.mkdir()
        pictures.learning_curves(folder / "curves.png", training.history, training.best_epoch)
        _write_curves(folder / "curves.csv", training.history)
        summary = {f"best_{name}": value for name, value in record.best.items()}
        write_json(folder / "metrics.json", {**summary, "best_epoch": record.best_epoch, "epochs": record.epochs})


def _write_curves(path: Path, history: History) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["epoch", *history])
        rows.writerows([epoch, *values] for epoch, values in enumerate(zip(*history.values(), strict=True), start=1))
