"""Stage evaluate: judge the ONNX file on the official test split in onnxruntime, so that what is measured is served."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistflow import files, splits, tasks
from mnistflow.arrays import Array
from mnistflow.evaluation import robustness
from mnistflow.evaluation.config import EvaluateConfig
from mnistflow.paths import Paths
from mnistflow.runtime import onnx_session

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

WARM_UP_CALLS = 20
# Of each batch size: after so many seconds, so many calls are enough.
MOST_SECONDS = 2.0
FEWEST_CALLS = 5


@dataclass(frozen=True)
class Evaluation:
    """What a model is worth.

    Attributes:
        metrics: of the task, flat.
        by_class: recall of each class.
        speed: `latency_ms_batch_<n>` (median of one call) and `examples_per_second_batch_<n>`, one thread.
        file_bytes: size of the ONNX file.
        test_sha256: of the test split judged on.
        model_sha256: of the ONNX file.
        robustness: the headline metric on corrupted inputs, flat; see `robustness.Robustness.metrics`.
    """

    metrics: Mapping[str, float]
    by_class: Mapping[str, float]
    speed: Mapping[str, float]
    file_bytes: int
    test_sha256: str
    model_sha256: str
    robustness: Mapping[str, float] = field(default_factory=dict)

    @property
    def logged(self) -> dict[str, float]:
        """Flat metrics for MLflow, with the split in their names."""
        return {
            **{f"test_{name}": value for name, value in self.metrics.items()},
            **{f"test_recall.{_plain(name)}": value for name, value in self.by_class.items()},
            **{f"test_{name}": value for name, value in self.robustness.items()},
            **self.speed,
            "file_megabytes": self.file_bytes / 1e6,
        }


def evaluate(paths: Paths, config: EvaluateConfig) -> Evaluation:
    """Judge `model.onnx`; write `evaluation.json`, `predictions.npz`, metrics, tables and pictures."""
    data = splits.load(paths.prepared)
    task = tasks.get(data.task)
    path = paths.exported / "model.onnx"
    session = onnx_session.open_session(path)
    outputs = onnx_session.predict(session, data.test.inputs)
    measurement = task.measure(outputs, data.test.targets, data.classes, config.calibration_bins)
    borne = robustness.measure(
        task, lambda inputs: onnx_session.predict(session, inputs), data.test, config.robustness_images
    )
    evaluation = Evaluation(
        metrics=measurement.metrics,
        by_class=measurement.by_class,
        speed=measure_speed(onnx_session.open_session(path, threads=1), data.test.inputs, config),
        file_bytes=path.stat().st_size,
        test_sha256=data.test_sha256,
        model_sha256=files.sha256(path),
        robustness=borne.metrics,
    )
    with files.atomic_write(paths.evaluated) as folder:
        folder.mkdir()
        files.write_json(folder / "evaluation.json", asdict(evaluation))
        np.savez(folder / "predictions.npz", outputs=outputs)
    with files.atomic_write(paths.reports / "evaluate") as folder:
        folder.mkdir()
        files.write_json(folder / "metrics.json", {**evaluation.metrics, **evaluation.robustness, **evaluation.speed})
        for kind in ("tables", "pictures"):
            (folder / kind).mkdir()
        task.report(folder, data.test.inputs, outputs, data.test.targets, data.classes, mistakes=config.mistakes)
        robustness.draw(folder / "pictures/robustness.png", borne)
    return evaluation


def load(paths: Paths) -> Evaluation:
    """Return the evaluation that the stage left in the workspace."""
    return Evaluation(**files.read_json(paths.evaluated / "evaluation.json"))


def measure_speed(session: InferenceSession, inputs: Array, config: EvaluateConfig) -> dict[str, float]:
    """Time `config.repeats` calls per batch size, fewer of a slow model.

    The median is robust against what else the machine does.
    """
    speed: dict[str, float] = {}
    name = session.get_inputs()[0].name
    for size in config.batch_sizes:
        batch = inputs[:size]
        _time_calls(session, name, batch, WARM_UP_CALLS)
        seconds = float(np.median(_time_calls(session, name, batch, config.repeats)))
        speed[f"latency_ms_batch_{size}"] = round(seconds * 1000, 4)
        speed[f"examples_per_second_batch_{size}"] = round(len(batch) / seconds, 1)
    return speed


def _time_calls(session: InferenceSession, name: str, batch: Any, repeats: int) -> list[float]:
    seconds: list[float] = []
    while len(seconds) < repeats and (len(seconds) < FEWEST_CALLS or sum(seconds) < MOST_SECONDS):
        seconds.append(_time_call(session, name, batch))
    return seconds


def _time_call(session: InferenceSession, name: str, batch: Any) -> float:
    started = time.perf_counter()
    session.run(None, {name: batch})
    return time.perf_counter() - started


def _plain(name: str) -> str:
    """MLflow's metric names allow letters, digits and a few signs."""
    return "".join(sign if sign.isalnum() or sign in "_-. /" else "_" for sign in name)
