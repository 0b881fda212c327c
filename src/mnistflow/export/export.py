"""Stage export: converts the trained model to a single ONNX file and checks that both compute the same outputs."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import mnistflow
from mnistflow import files, learners, splits, tasks
from mnistflow.arrays import Array, Outputs
from mnistflow.checkout import git
from mnistflow.errors import ParityError
from mnistflow.export import calibration, normalization, quantization, test_time_augmentation
from mnistflow.export.config import ExportConfig
from mnistflow.paths import Paths
from mnistflow.runtime import onnx_session
from mnistflow.splits import Dataset
from mnistflow.tasks.doubt import Doubt
from mnistflow.tasks.task import Parity, Task
from mnistflow.tasks.temperature import tempered
from mnistflow.tracking import runs

if TYPE_CHECKING:
    import onnx

# Supported by onnxruntime since 1.14. Newer IR versions would exclude older runtimes.
IR_VERSION = 8


@dataclass(frozen=True)
class ExportRecord:
    """Result of an export, the content of `export.json`.

    Attributes:
        sha256: of the ONNX file.
        bytes: size of the ONNX file.
        precision: of convolutions and matrix products.
        opset: version of ONNX's default operator set.
        views: number of copies that test-time augmentation averages over.
        temperature: of the calibration, fitted on the validation split; 1 without class probabilities.
        doubt: thresholds fitted on the validation split; None without class probabilities.
        parity: with the trained model, on the test split.
    """

    sha256: str
    bytes: int
    precision: str
    opset: int
    views: int
    temperature: float
    doubt: Doubt | None
    parity: Parity


def export(paths: Paths, config: ExportConfig) -> ExportRecord:
    """Convert the trained model, check parity on the test split, and write `model.onnx` and `export.json`.

    Raises:
        ParityError: the ONNX file and the trained model disagree; nothing is written.
        DataError: the prepared data or the trained model is missing or damaged.
        StageError: onnxruntime cannot load the ONNX file, or int8 gains nothing.
    """
    data = splits.load(paths.prepared)
    task = tasks.get(data.task)
    signature = task.signature(data.input_shape, data.classes)
    learner = learners.get(files.read_json(paths.trained / "training.json")["learner"])
    model = learner.load(paths.trained)
    offsets = test_time_augmentation.offsets(signature, config.views)

    def predict(inputs: Array) -> Outputs:
        return test_time_augmentation.mean(lambda copy: learner.predict(model, copy), inputs, offsets)

    expected, temperature, doubt = predict(task.evaluation_split(data.test).inputs), 1.0, None
    proto = learner.convert(model, signature, config.opset)
    proto.ir_version = IR_VERSION  # which the quantization's onnxruntime has to read
    normalization.merge_normalizations(proto)
    if config.precision == "int8":
        held_out = task.evaluation_split(data.validation).inputs
        proto = quantization.quantized(proto, signature, held_out, all_layers=config.quantize_ends)
    proto = test_time_augmentation.averaging(proto, signature, offsets)
    if task.has_class_probabilities:
        temperature, doubt = _calibration(predict(data.validation.inputs), data.validation.targets, config)
        expected = tempered(expected, temperature)
        proto = calibration.calibrated(proto, signature, temperature)
    with files.atomic_folder(paths.exported) as folder:
        path = folder / "model.onnx"
        save(proto, path, _metadata(paths, data))
        parity = check_parity(task, expected, path, data, config)
        size, opset = path.stat().st_size, proto.opset_import[0].version
        record = ExportRecord(
            files.sha256(path), size, config.precision, opset, len(offsets), temperature, doubt, parity
        )
        files.write_json(folder / "export.json", asdict(record))
    return record


def _calibration(probabilities: Outputs, labels: Array, config: ExportConfig) -> tuple[float, Doubt]:
    """Return the temperature and the thresholds of doubt for outputs on the validation split."""
    temperature = calibration.fit_temperature(probabilities, labels)
    doubt = Doubt.fit(
        tempered(probabilities, temperature),
        labels,
        coverage=config.coverage,
        false_refusals=config.false_refusals,
    )
    return temperature, doubt


def save(proto: onnx.ModelProto, path: Path, metadata: dict[str, str]) -> None:
    """Write a graph with its weights and metadata into one file, after naming its batch dimension and checking it.

    Args:
        proto: the graph; it is modified.
        path: of the ONNX file.
        metadata: name -> value, stored in the file.
    """
    import onnx

    proto.ir_version = IR_VERSION
    for value in (*proto.graph.input, *proto.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "batch"
    onnx.helper.set_model_props(proto, metadata)
    onnx.checker.check_model(proto, full_check=True)
    onnx.save_model(proto, str(path), save_as_external_data=False)


def check_parity(task: Task, expected: Outputs, path: Path, data: Dataset, config: ExportConfig) -> Parity:
    """Compare outputs of the trained model and of an ONNX file on the whole test split.

    Args:
        task: compares the outputs.
        expected: outputs of the trained model, float32 `[n, *output_shape]`.
        path: of the ONNX file.
        data: a prepared data set.
        config: section `export` of params.yaml.

    Raises:
        ParityError: a prediction differs, or an output differs by more than `max_probability_gap` or the rounding of
            its dtype, whichever is larger; with int8, more predictions than `max_disagreement` differ.
    """
    actual = onnx_session.predict(onnx_session.open_session(path), task.evaluation_split(data.test).inputs)
    parity = task.compare_outputs(expected, actual, config.tie)
    if config.precision == "int8":
        allowed = math.ceil(config.max_disagreement * parity.rows)
        if parity.disagreements > allowed:
            less = (
                "Leave the first and the last layer in float32 (export.quantize_ends: false)"
                if config.quantize_ends
                else "Raise export.max_disagreement"
            )
            raise ParityError(
                f"int8 changes {parity.disagreements} of {parity.rows} predictions (allowed: {allowed})",
                f"{less}, or export in float32.",
            )
        return parity
    if parity.disagreements or parity.max_gap > max(config.max_probability_gap, task.rounding):
        predictions = f"in {parity.disagreements} of {parity.rows} predictions, and " if parity.disagreements else ""
        raise ParityError(
            f"the outputs of the ONNX file differ from those of the trained model {predictions}by up to "
            f"{parity.max_gap:.2g} (allowed: {max(config.max_probability_gap, task.rounding):.2g})",
            "Look for a layer that is converted incorrectly, or try another export.opset.",
        )
    return parity


def _metadata(paths: Paths, data: Dataset) -> dict[str, str]:
    return {
        "dataset": data.name,
        "task": data.task,
        "classes": ",".join(data.classes),
        "data_sha256": data.data_sha256,
        "run_id": runs.current_run_id() or "",
        "git_commit": git.describe_commit(paths.checkout),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "mnistflow_version": mnistflow.__version__,
    }
