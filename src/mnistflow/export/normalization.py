"""Batch normalization in an ONNX graph, as one operator for each layer.

tf2onnx merges it into the convolution before it, unless pooling lies between: then a multiplication and an addition
remain, and onnxruntime leaves its blocked layout of channels for the addition. One `BatchNormalization` stays in it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mnistflow.arrays import Array

if TYPE_CHECKING:
    import onnx


def merge_normalizations(model: onnx.ModelProto) -> None:
    """Replace each multiplication and addition by channel, in this order, by one `BatchNormalization`, in place.

    Args:
        model: graph whose images have the layout `[batch, channels, height, width]`.
    """
    from onnx import helper, numpy_helper

    graph = model.graph
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    consumers: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            consumers.setdefault(name, []).append(node)
    for multiplication in [node for node in graph.node if node.op_type == "Mul"]:
        following = consumers.get(multiplication.output[0], [])
        if len(following) != 1 or following[0].op_type != "Add":
            continue
        (addition,) = following
        scale, offset = _by_channel(multiplication, constants), _by_channel(addition, constants)
        if scale is None or offset is None or scale.shape != offset.shape:
            continue
        values = (scale, offset, np.zeros_like(scale), np.ones_like(scale))
        names = [f"{addition.output[0]}/{part}" for part in ("scale", "offset", "mean", "variance")]
        graph.initializer.extend(map(numpy_helper.from_array, values, names))
        (source,) = (name for name in multiplication.input if name not in constants)
        merged = helper.make_node("BatchNormalization", [source, *names], list(addition.output), epsilon=0.0)
        addition.CopyFrom(merged)
        graph.node.remove(multiplication)


def _by_channel(node: onnx.NodeProto, constants: dict[str, Array]) -> Array | None:
    """Return the constant operand of a node, float32 `[channels]`, if it has one value for each channel."""
    for name in node.input:
        constant = constants.get(name)
        if constant is not None and constant.ndim == 4 and constant.size == constant.shape[1] > 1:
            return constant.ravel()
    return None
