"""The mean of a model's answers for an image and for the image moved by a pixel, as one ONNX graph.

After the crops that Krizhevsky, Sutskever and Hinton average over (NIPS 2012, section 4.1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mnistflow.arrays import Array, Outputs
from mnistflow.tasks.task import Signature

if TYPE_CHECKING:
    import onnx

Offset = tuple[int, int]  # rows and columns

_CROSS: tuple[Offset, ...] = ((0, 0), (-1, 0), (0, -1), (0, 1), (1, 0))
_OFFSETS: Mapping[int, tuple[Offset, ...]] = {
    1: _CROSS[:1],
    5: _CROSS,
    9: (*_CROSS, (-1, -1), (-1, 1), (1, -1), (1, 1)),
}


def offsets(signature: Signature, count: int) -> tuple[Offset, ...]:
    """Return by how much each of so many copies is moved; inputs that are no images have one, not moved."""
    return _OFFSETS[count if signature.takes_images else 1]


def mean(predict: Callable[[Array], Outputs], inputs: Array, moves: Sequence[Offset]) -> Outputs:
    """Return the mean of what is predicted for the moved copies of inputs `[n, *input_shape]`."""
    if len(moves) == 1:
        return predict(inputs)
    height, width = inputs.shape[1:]
    framed = np.pad(inputs, ((0, 0), (1, 1), (1, 1)))
    copies = (framed[:, 1 - down : 1 - down + height, 1 - right : 1 - right + width] for down, right in moves)
    return np.asarray(np.mean([predict(copy) for copy in copies], axis=0, dtype=np.float64), np.float32)


def averaging(model: onnx.ModelProto, signature: Signature, moves: Sequence[Offset]) -> onnx.ModelProto:
    """Return a graph that gives the mean of the model's outputs for the moved copies of its inputs."""
    if len(moves) == 1:
        return model
    from onnx import compose, helper, numpy_helper

    inner = compose.add_prefix(model, "model/").graph
    height, width = signature.input_shape
    constants = {
        "frame": np.array([0, 1, 1, 0, 1, 1]),
        "sides": np.array([1, 2]),
        "by_copy": np.array([len(moves), -1, *signature.output_shape]),
        "copies": np.array([0]),
        "count": np.float32(len(moves)),
    }
    nodes = [helper.make_node("Pad", [signature.input_name, "frame"], ["framed"])]
    for number, (down, right) in enumerate(moves):
        top, left = 1 - down, 1 - right
        constants |= {f"from_{number}": np.array([top, left]), f"to_{number}": np.array([top + height, left + width])}
        nodes.append(
            helper.make_node("Slice", ["framed", f"from_{number}", f"to_{number}", "sides"], [f"copy_{number}"])
        )
    # ReduceMean would do, but takes its axes in another way from opset 18 on.
    nodes += [
        helper.make_node("Concat", [f"copy_{number}" for number in range(len(moves))], [inner.input[0].name], axis=0),
        *inner.node,
        helper.make_node("Reshape", [inner.output[0].name, "by_copy"], ["answers"]),
        helper.make_node("ReduceSum", ["answers", "copies"], ["sum"], keepdims=0),
        helper.make_node("Div", ["sum", "count"], [signature.output_name]),
    ]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(
        nodes, "views", model.graph.input, model.graph.output, [*initializers, *inner.initializer]
    )
    return helper.make_model(graph, opset_imports=model.opset_import)
