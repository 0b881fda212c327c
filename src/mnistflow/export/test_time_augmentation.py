"""Test-time augmentation: the mean of a model's outputs for an image and its shifted copies, as one ONNX graph.

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

Offset = tuple[int, int]  # in rows and columns

_CROSS: tuple[Offset, ...] = ((0, 0), (-1, 0), (0, -1), (0, 1), (1, 0))
_OFFSETS: Mapping[int, tuple[Offset, ...]] = {
    1: _CROSS[:1],
    5: _CROSS,
    9: (*_CROSS, (-1, -1), (-1, 1), (1, -1), (1, 1)),
}


def offsets(signature: Signature, count: int) -> tuple[Offset, ...]:
    """Return the shift of each of `count` copies, in pixels. Inputs that are not images have one copy, not shifted.

    Args:
        signature: of the model.
        count: 1, 5 or 9.
    """
    return _OFFSETS[count if signature.takes_images else 1]


def mean(predict: Callable[[Array], Outputs], inputs: Array, offsets: Sequence[Offset]) -> Outputs:
    """Return the mean of the outputs for shifted copies of inputs: float32 `[n, *output_shape]`.

    Args:
        predict: maps inputs `[n, *input_shape]` to outputs `[n, *output_shape]`.
        inputs: `[n, *input_shape]`.
        offsets: shift of each copy.
    """
    if len(offsets) == 1:
        return predict(inputs)
    height, width = inputs.shape[1:]
    padded = np.pad(inputs, ((0, 0), (1, 1), (1, 1)))
    copies = (padded[:, 1 - down : 1 - down + height, 1 - right : 1 - right + width] for down, right in offsets)
    return np.asarray(np.mean([predict(copy) for copy in copies], axis=0, dtype=np.float64), np.float32)


def averaging(model: onnx.ModelProto, signature: Signature, offsets: Sequence[Offset]) -> onnx.ModelProto:
    """Return a graph that computes the mean of a model's outputs for shifted copies of its inputs.

    Args:
        model: graph with one input and one output.
        signature: of the model.
        offsets: shift of each copy.
    """
    if len(offsets) == 1:
        return model
    from onnx import compose, helper, numpy_helper

    inner = compose.add_prefix(model, "model/").graph
    height, width = signature.input_shape
    constants = {
        "padding": np.array([0, 1, 1, 0, 1, 1]),
        "axes": np.array([1, 2]),
        "shape_by_copy": np.array([len(offsets), -1, *signature.output_shape]),
        "copy_axis": np.array([0]),
        "count": np.float32(len(offsets)),
    }
    nodes = [helper.make_node("Pad", [signature.input_name, "padding"], ["padded"])]
    for number, (down, right) in enumerate(offsets):
        top, left = 1 - down, 1 - right
        constants |= {f"from_{number}": np.array([top, left]), f"to_{number}": np.array([top + height, left + width])}
        nodes.append(
            helper.make_node("Slice", ["padded", f"from_{number}", f"to_{number}", "axes"], [f"copy_{number}"])
        )
    # Not ReduceMean, whose axes are an attribute before opset 18 and an input since.
    nodes += [
        helper.make_node("Concat", [f"copy_{number}" for number in range(len(offsets))], [inner.input[0].name], axis=0),
        *inner.node,
        helper.make_node("Reshape", [inner.output[0].name, "shape_by_copy"], ["outputs_by_copy"]),
        helper.make_node("ReduceSum", ["outputs_by_copy", "copy_axis"], ["sum"], keepdims=0),
        helper.make_node("Div", ["sum", "count"], [signature.output_name]),
    ]
    initializers = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(
        nodes, "views", model.graph.input, model.graph.output, [*initializers, *inner.initializer]
    )
    return helper.make_model(graph, opset_imports=model.opset_import)
