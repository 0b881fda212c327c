"""An ONNX file in onnxruntime, as it is judged and compared."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnistflow.arrays import Array, Outputs
from mnistflow.errors import StageError
from mnistflow.runtime.batches import JUDGED

if TYPE_CHECKING:
    from onnxruntime import InferenceSession


def open_session(model: Path | bytes, threads: int = 0) -> InferenceSession:
    """Open a self-contained ONNX file, or the bytes of one, on the CPU; `threads` 0 means one a core.

    Raises:
        StageError: onnxruntime refuses the file.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        # From bytes, so that no file beside it can be read as part of the model.
        content = model if isinstance(model, bytes) else model.read_bytes()
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime's errors share no base class
        name = "a member of the ensemble" if isinstance(model, bytes) else model
        raise StageError(f"onnxruntime cannot load {name}: {error}", "Run stage export again.") from error


def predict(session: InferenceSession, inputs: Array) -> Outputs:
    """Return the outputs, float32 `[n, *output_shape]`, of inputs `[n, *input_shape]`, computed in batches."""
    name = session.get_inputs()[0].name
    batches = [session.run(None, {name: inputs[i : i + JUDGED]})[0] for i in range(0, len(inputs), JUDGED)]
    return np.concatenate(batches)


def count_parameters(model: bytes) -> int:
    """Return how many fractional numbers a graph holds: in its weights, and in the attributes of its trees."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load_from_string(model).graph
    weights = [numpy_helper.to_array(tensor) for tensor in graph.initializer]
    trees = [len(attribute.floats) for node in graph.node for attribute in node.attribute]
    return sum(int(array.size) for array in weights if array.dtype.kind == "f") + sum(trees)
