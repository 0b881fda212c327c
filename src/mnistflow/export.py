"""Stage export: Keras to a self-contained ONNX file, let through only when both compute the same.

tf2onnx converts a `tf.function` with a named signature: its `from_keras` does not know Keras 3.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mnistflow
from mnistflow import backend, files, lineage, onnx_model, tasks, tracking
from mnistflow.config import Config, ExportConfig
from mnistflow.data import splits
from mnistflow.data.splits import Dataset
from mnistflow.errors import ParityError
from mnistflow.native import import_tensorflow
from mnistflow.project import Project
from mnistflow.tasks.task import Parity, Signature, Task

if TYPE_CHECKING:
    import keras
    import onnx

logger = logging.getLogger(__name__)

# Written by onnx 1.13 and read by onnxruntime since 1.14: newer IR versions shut older runtimes out.
IR_VERSION = 8


@dataclass(frozen=True)
class ExportRecord:
    """The exported file and how closely it agrees with Keras."""

    sha256: str
    bytes: int
    opset: int
    parity: Parity


def export(project: Project, config: Config) -> ExportRecord:
    """Convert `model.keras`, check the file, and write `model.onnx` and `export.json`.

    Raises:
        ParityError: onnxruntime and Keras disagree on the test split; nothing is written.
    """
    backend.use(backend.DEFAULT)  # whatever trained the model
    import_tensorflow()
    import keras

    data = splits.load(project.prepared)
    task = tasks.get(data.task)
    signature = task.signature(data.input_shape, data.classes)
    model = keras.models.load_model(project.trained / "model.keras")
    with files.atomic_write(project.exported) as folder:
        folder.mkdir()
        path = folder / "model.onnx"
        save(convert(model, signature, config.export.opset), path, _metadata(project, data))
        parity = check_parity(task, model, path, data, config.export)
        record = ExportRecord(files.sha256(path), path.stat().st_size, config.export.opset, parity)
        files.write_json(folder / "export.json", asdict(record))
    return record


def convert(model: keras.Model, signature: Signature, opset: int) -> onnx.ModelProto:
    """Return the ONNX graph of a Keras model, with the names and the dynamic batch dimension of the signature."""
    import tensorflow as tf
    import tf2onnx

    specification = tf.TensorSpec([None, *signature.input_shape], signature.input_dtype, name=signature.input_name)

    def compute(inputs: Any) -> dict[str, Any]:
        return {signature.output_name: model(inputs, training=False)}

    function = tf.function(compute, input_signature=[specification])
    proto, _ = tf2onnx.convert.from_function(function, input_signature=[specification], opset=opset)
    proto.ir_version = IR_VERSION
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    loops = [node.name for node in proto.graph.node if node.op_type == "Loop"]
    if loops:
        logger.warning("the graph holds %d Loop nodes: each call will be several times slower", len(loops))
    return proto


def save(proto: onnx.ModelProto, path: Path, metadata: dict[str, str]) -> None:
    """Check the graph and write it with its metadata into one file, weights included."""
    import onnx

    onnx.helper.set_model_props(proto, metadata)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save_model(proto, str(path), save_as_external_data=False)


def check_parity(task: Task, model: keras.Model, path: Path, data: Dataset, config: ExportConfig) -> Parity:
    """Compare Keras and onnxruntime on the whole test split.

    Raises:
        ParityError: a prediction differs, or an output by more than `max_probability_gap`.
    """
    expected = model.predict(data.test.inputs, batch_size=onnx_model.BATCH, verbose=0)
    actual = onnx_model.predict(onnx_model.open_session(path), data.test.inputs)
    parity = task.compare_outputs(expected, actual, config.tie)
    if parity.disagreements or parity.max_gap > config.max_probability_gap:
        raise ParityError(
            f"the ONNX file differs from Keras in {parity.disagreements} of {parity.rows} predictions, "
            f"and by up to {parity.max_gap:.2g} (allowed: {config.max_probability_gap:.2g})",
            "Look for layers that compute otherwise in training mode, or try another export.opset.",
        )
    return parity


def _metadata(project: Project, data: Dataset) -> dict[str, str]:
    return {
        "dataset": data.name,
        "task": data.task,
        "classes": ",".join(data.classes),
        "data_sha256": data.data_sha256,
        "run_id": tracking.current_run_id() or "",
        "git_commit": lineage.git_commit(project.home),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "mnistflow_version": mnistflow.__version__,
    }
