"""Stage evaluate: metrics, latency and robustness of the ONNX file, the one that is served, on the test split."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from mnistflow import files, metric_names, splits, tasks
from mnistflow.arrays import Array, Outputs
from mnistflow.evaluation import doubt, robustness
from mnistflow.evaluation.config import EvaluateConfig
from mnistflow.paths import Paths
from mnistflow.runtime import onnx_session
from mnistflow.splits import Dataset
from mnistflow.tasks.doubt import Doubt
from mnistflow.tasks.task import Task

if TYPE_CHECKING:
    from onnxruntime import InferenceSession

GOLDEN = "golden"  # array of predictions.npz: outputs on the golden set
WARM_UP_CALLS = 20
MAX_SECONDS = 2.0  # per batch size, unless fewer than MIN_CALLS were timed
MIN_CALLS = 5


@dataclass(frozen=True)
class Evaluation:
    """Result of an evaluation, the content of `evaluation.json`.

    Attributes:
        metrics: name -> value, as computed by the task.
        by_class: class name -> recall.
        support: class name -> number of its test examples.
        speed: `latency_ms_batch_<n>`, the median over calls, and `examples_per_second_batch_<n>`, on one thread.
        file_bytes: size of the ONNX file.
        test_sha256: of the test split.
        model_sha256: of the ONNX file.
        robustness: headline metric on corrupted inputs; see `robustness.Robustness.metrics`.
        doubt: prediction sets and refusals; see `doubt.measure`.
        golden: `golden_<headline metric>` and `golden_examples`; empty without a golden set.
        golden_sha256: of the golden set; empty without one.
    """

    metrics: Mapping[str, float]
    by_class: Mapping[str, float]
    support: Mapping[str, int]
    speed: Mapping[str, float]
    file_bytes: int
    test_sha256: str
    model_sha256: str
    robustness: Mapping[str, float] = field(default_factory=dict)
    doubt: Mapping[str, float] = field(default_factory=dict)
    golden: Mapping[str, float] = field(default_factory=dict)
    golden_sha256: str = ""

    @property
    def logged(self) -> dict[str, float]:
        """Metrics for MLflow, whose names contain the split."""
        return {
            **{f"test_{name}": value for name, value in self.metrics.items()},
            **{f"test_recall.{_plain(name)}": value for name, value in self.by_class.items()},
            **{f"test_{_plain(name)}": value for name, value in (*self.robustness.items(), *self.doubt.items())},
            **self.golden,
            **self.speed,
            metric_names.FILE_MEGABYTES: self.file_bytes / 1e6,
        }


def evaluate(paths: Paths, config: EvaluateConfig) -> Evaluation:
    """Evaluate `model.onnx`; write `evaluation.json`, `predictions.npz`, metrics, tables and plots.

    Raises:
        DataError: the prepared data is missing or damaged.
        StageError: onnxruntime cannot load the ONNX file.
    """
    data = splits.load(paths.prepared)
    task = tasks.get(data.task)
    path = paths.exported / "model.onnx"
    session = onnx_session.open_session(path)
    test = task.evaluation_split(data.test)
    outputs = onnx_session.predict(session, test.inputs)
    measurement = task.measure(outputs, test.targets, data.classes)

    def predict(inputs: Array) -> Outputs:
        return onnx_session.predict(session, inputs)

    robust = robustness.measure(task, predict, test, config.robustness_images)
    thresholds = Doubt.read(paths.exported)
    golden_outputs: dict[str, Any] = {} if data.golden is None else {GOLDEN: predict(data.golden.inputs)}
    evaluation = Evaluation(
        metrics={**measurement.metrics, **task.measure_novelty(outputs, data)},
        by_class=measurement.by_class,
        support=measurement.support,
        speed=measure_speed(onnx_session.open_session(path, threads=1), test.inputs, config),
        file_bytes=path.stat().st_size,
        test_sha256=data.test_sha256,
        model_sha256=files.sha256(path),
        robustness=robust.metrics,
        doubt=doubt.measure(thresholds, predict, data, outputs, robust) if thresholds else {},
        golden=_measure_golden(task, golden_outputs, data),
        golden_sha256=data.sha256.get("golden", ""),
    )
    with files.atomic_folder(paths.evaluated) as folder:
        files.write_json(folder / "evaluation.json", asdict(evaluation))
        np.savez(folder / "predictions.npz", outputs=outputs, **golden_outputs)
    with files.atomic_folder(paths.reports / "evaluate") as folder:
        figures = evaluation.metrics, evaluation.robustness, evaluation.doubt, evaluation.golden, evaluation.speed
        files.write_json(folder / "metrics.json", {name: value for part in figures for name, value in part.items()})
        for kind in ("tables", "pictures"):
            (folder / kind).mkdir()
        task.report(folder, test.inputs, outputs, test.targets, data.classes, mistakes=config.mistakes)
        robustness.draw(folder / "pictures/robustness.png", robust)
    return evaluation


def _measure_golden(task: Task, outputs: Mapping[str, Outputs], data: Dataset) -> dict[str, float]:
    if data.golden is None:
        return {}
    score = task.score(outputs[GOLDEN], data.golden.targets)
    return {f"golden_{task.headline.name}": score, "golden_examples": len(data.golden)}


def load(paths: Paths) -> Evaluation:
    """Return the evaluation in a workspace.

    Raises:
        DataError: `evaluation.json` is missing or damaged.
    """
    return Evaluation(**files.read_json(paths.evaluated / "evaluation.json"))


def measure_speed(session: InferenceSession, inputs: Array, config: EvaluateConfig) -> dict[str, float]:
    """Return median latency (ms) and throughput (examples per second) of each batch size.

    Calls are repeated `config.repeats` times, or until `MAX_SECONDS` have passed. The median is robust against other
    load on the machine.

    Args:
        session: of the model.
        inputs: `[n, *input_shape]`.
        config: section `evaluate` of params.yaml.
    """
    speed: dict[str, float] = {}
    for size in config.batch_sizes:
        batch = inputs[:size]
        fed = onnx_session.by_name(batch, session.get_inputs()[0].name)
        _time_calls(session, fed, WARM_UP_CALLS)
        seconds = float(np.median(_time_calls(session, fed, config.repeats)))
        speed[metric_names.latency_ms(size)] = round(seconds * 1000, 4)
        speed[f"examples_per_second_batch_{size}"] = round(len(batch) / seconds, 1)
    return speed


def _time_calls(session: InferenceSession, fed: dict[str, Array], repeats: int) -> list[float]:
    seconds: list[float] = []
    while len(seconds) < repeats and (len(seconds) < MIN_CALLS or sum(seconds) < MAX_SECONDS):
        seconds.append(_time_call(session, fed))
    return seconds


def _time_call(session: InferenceSession, fed: dict[str, Array]) -> float:
    started = time.perf_counter()
    session.run(None, fed)
    return time.perf_counter() - started


def _plain(name: str) -> str:
    """Return a name with only those characters that MLflow allows in names of metrics."""
    return "".join(character if character.isalnum() or character in "_-. /" else "_" for character in name)
