"""Stage train: fit the chosen family with the best parameters found, and keep the best epoch's weights."""

from __future__ import annotations

import csv
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from mnistflow import backend, fitting, lineage, tasks, tracking
from mnistflow.config import Config
from mnistflow.data import splits
from mnistflow.files import atomic_write, read_json, remove, write_json
from mnistflow.project import Project
from mnistflow.tasks import pictures

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TrainingRecord:
    """What a training came to, as it is kept in `training.json`.

    Attributes:
        best: measures of the epoch whose weights are kept.
        parameters: of the Keras model.
        seconds: spent fitting.
    """

    family: str
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


def train(project: Project, config: Config) -> TrainingRecord:
    """Fit on the training split; write `model.keras`, `training.json` and the learning curves."""
    config = tuned_config(project, config)
    data = splits.load(project.prepared)
    task = tasks.get(data.task)
    backend.use(config.train.backend)
    backend.load_tensorflow(config.train.threads)
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
            logger.info("epoch %d/%d: %s", epoch, config.train.epochs, shown)

        training = fitting.fit(
            task,
            task.signature(data.input_shape, data.classes),
            config.model,
            config.train,
            data.train,
            data.validation,
            on_epoch,
            journal,
        )
        record = _record(config, training)
        _write(project, training, record)
    remove(journal)
    return record


def _record(config: Config, training: fitting.Training) -> TrainingRecord:
    return TrainingRecord(
        family=config.model.family,
        epochs=len(training.history[fitting.WATCHED]),
        best_epoch=training.best_epoch,
        best=training.best,
        history=training.history,
        parameters=training.model.count_params(),
        seconds=round(training.seconds, 3),
        settings=tracking.parameters(config),
    )


def _write(project: Project, training: fitting.Training, record: TrainingRecord) -> None:
    with atomic_write(project.trained) as folder:
        folder.mkdir()
        training.model.save(folder / "model.keras")
        write_json(folder / "training.json", asdict(record))
    with atomic_write(project.reports / "train") as folder:
        folder.mkdir()
        pictures.learning_curves(folder / "curves.png", training.history, training.best_epoch)
        _write_curves(folder / "curves.csv", training.history)
        summary = {f"best_{name}": value for name, value in record.best.items()}
        write_json(folder / "metrics.json", {**summary, "best_epoch": record.best_epoch, "epochs": record.epochs})


def _write_curves(path: Path, history: fitting.History) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        rows = csv.writer(stream)
        rows.writerow(["epoch", *history])
        rows.writerows([epoch, *values] for epoch, values in enumerate(zip(*history.values(), strict=True), start=1))
