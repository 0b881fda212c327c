"""Stage export: the trained model as a self-contained ONNX file, let through only when both compute the same."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import mnistflow
from mnistflow import files, learners, lineage, splits, tasks
from mnistflow.arrays import Outputs
from mnistflow.errors import ParityError
from mnistflow.export import test_time_augmentation
from mnistflow.export.config import ExportConfig
from mnistflow.paths import Paths
from mnistflow.runtime import onnx_session
from mnistflow.splits import Dataset
from mnistflow.tasks.task import Parity, Task
from mnistflow.tracking import runs

if TYPE_CHECKING:
    import onnx

# Written by onnx 1.13 and read by onnxruntime since 1.14: newer IR versions shut older runtimes out.
IR_VERSION = 8


@dataclass(frozen=True)
class ExportRecord:
    """The exported file and how closely it agrees with the trained model."""

    sha256: str
    bytes: int
    opset: int
    views: int
    parity: Parity


def export(paths: Paths, config: ExportConfig) -> ExportRecord:
    """Convert the trained model, check the file, and write `model.onnx` and `export.json`.

    Raises:
        ParityError: onnxruntime and the trained model disagree on the test split; nothing is written.
    """
    data = splits.load(paths.prepared)
    task = tasks.get(data.task)
    signature = task.signature(data.input_shape, data.classes)
    learner = learners.get(files.read_json(paths.trained / "training.json")["learner"])
    model = learner.load(paths.trained)
    moves = test_time_augmentation.offsets(signature, config.views)
    expected = test_time_augmentation.mean(lambda inputs: learner.predict(model, inputs), data.test.inputs, moves)
    proto = test_time_augmentation.averaging(learner.convert(model, signature, config.opset), signature, moves)
    with files.atomic_write(paths.exported) as folder:
        folder.mkdir()
        path = folder / "model.onnx"
        save(proto, path, _metadata(paths, data))
        parity = check_parity(task, expected, path, data, config)
        size, opset = path.stat().st_size, proto.opset_import[0].version
        record = ExportRecord(files.sha256(path), size, opset, len(moves), parity)
        files.write_json(folder / "export.json", asdict(record))
    return record


def save(proto: onnx.ModelProto, path: Path, metadata: dict[str, str]) -> None:
    """Name its batch dimension, check the graph, and write it with its metadata into one file, weights included."""
    import onnx

    proto.ir_version = IR_VERSION
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.helper.set_model_props(proto, metadata)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save_model(proto, str(path), save_as_external_data=False)


def check_parity(task: Task, expected: Outputs, path: Path, data: Dataset, config: ExportConfig) -> Parity:
    """Compare what the trained model computes of the whole test split with what onnxruntime computes.

    Raises:
        ParityError: a prediction differs, or an output by more than `max_probability_gap`.
    """
    actual = onnx_session.predict(onnx_session.open_session(path), data.test.inputs)
    parity = task.compare_outputs(expected, actual, config.tie)
    if parity.disagreements or parity.max_gap > config.max_probability_gap:
        raise ParityError(
            f"the ONNX file differs from the trained model in {parity.disagreements} of {parity.rows} predictions, "
            f"and by up to {parity.max_gap:.2g} (allowed: {config.max_probability_gap:.2g})",
            "Look for what computes otherwise in training, or try another export.opset.",
        )
    return parity


def _metadata(paths: Paths, data: Dataset) -> dict[str, str]:
    return {
        "dataset": data.name,
        "task": data.task,
        "classes": ",".join(data.classes),
        "data_sha256": data.data_sha256,
        "run_id": runs.current_run_id() or "",
        "git_commit": lineage.git_commit(paths.checkout),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "mnistflow_version": mnistflow.__version__,
    }
