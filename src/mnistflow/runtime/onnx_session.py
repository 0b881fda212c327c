"""ONNX sessions: onnxruntime on the CPU, for evaluation and comparison of exported models."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnistflow.arrays import Array, Outputs
from mnistflow.errors import StageError
from mnistflow.runtime.batches import EVAL_BATCH_SIZE

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def open_session(model: Path | bytes, threads: int = 0) -> InferenceSession:
    """Return a session on the CPU.

    Args:
        model: path of an ONNX file without external data, or its bytes.
        threads: intra-op threads; 0 means one per core.

    Raises:
        StageError: onnxruntime cannot load the model.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        # Loaded from bytes, which cannot refer to external data in other files.
        content = model if isinstance(model, bytes) else model.read_bytes()
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class
        name = "a member of the ensemble" if isinstance(model, bytes) else model
        raise StageError(f"onnxruntime cannot load {name}: {error}", "Run stage export again.") from error


def predict(session: InferenceSession, inputs: Array) -> Outputs:
    """Return outputs, float32 `[n, *output_shape]`, for inputs `[n, *input_shape]`, computed in batches."""
    first = session.get_inputs()[0].name
    # Without any rows, the model runs once, so that the outputs have their shape.
    starts = range(0, max(len(inputs), 1), EVAL_BATCH_SIZE)
    parts = (inputs[start : start + EVAL_BATCH_SIZE] for start in starts)
    return np.concatenate([session.run(None, by_name(part, first))[0] for part in parts])


def by_name(inputs: Array, first: str) -> dict[str, Array]:
    """Return inputs by their names: those of a model with several inputs are fields of a structured array `[n]`.

    Args:
        inputs: `[n, *input_shape]`, or structured `[n]`.
        first: name of the input of a model with only one.
    """
    fields = inputs.dtype.names
    return {first: inputs} if fields is None else {name: np.ascontiguousarray(inputs[name]) for name in fields}


def count_parameters(model: bytes) -> int:
    """Return the number of floating-point parameters in the bytes of an ONNX file: weights and attributes of trees."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(model).graph
    weights = [numpy_helper.to_array(tensor) for tensor in graph.initializer]
    trees = [len(attribute.floats) for node in graph.node for attribute in node.attribute]
    return sum(int(array.size) for array in weights if array.dtype.kind == "f") + sum(trees)
