"""Batch normalization behind pooling: one operator, with the same outputs."""

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from mnistflow.export.normalization import merge_normalizations

SHAPE = (2, 3, 4, 4)
SCALE = np.array([1.5, -2.0, 0.5], np.float32)
OFFSET = np.array([0.1, 0.0, -3.0], np.float32)


def model(offset_shape: tuple[int, ...], *, also_multiplied: bool = False) -> onnx.ModelProto:
    """Return a graph that multiplies by `SCALE` and adds `OFFSET`; `also_multiplied` returns the product too."""
    nodes = [
        helper.make_node("Mul", ["scale", "images"], ["product"]),
        helper.make_node("Add", ["product", "offset"], ["sum"]),
        helper.make_node("Identity", ["product"], ["kept"]),
    ]
    outputs = ["sum", "kept"][: 1 + also_multiplied]
    tensors = [helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("images", *outputs)]
    constants = [
        numpy_helper.from_array(SCALE.reshape(1, 3, 1, 1), "scale"),
        numpy_helper.from_array(np.resize(OFFSET, offset_shape), "offset"),
    ]
    graph = helper.make_graph(nodes[: 2 + also_multiplied], "normalization", tensors[:1], tensors[1:], constants)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)])
    made.ir_version = 8
    return made


def outputs(made: onnx.ModelProto) -> NDArray[np.float32]:
    images = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
    return np.asarray(onnxruntime.InferenceSession(made.SerializeToString()).run(["sum"], {"images": images})[0])


def test_a_multiplication_and_an_addition_by_channel_become_one_operator() -> None:
    merged, original = model((1, 3, 1, 1)), model((1, 3, 1, 1))
    merge_normalizations(merged)
    onnx.checker.check_model(merged, full_check=True)
    assert [node.op_type for node in merged.graph.node] == ["BatchNormalization"]
    np.testing.assert_allclose(outputs(merged), outputs(original), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "other", [model((1, 1, 1, 4)), model((1, 3, 1, 1), also_multiplied=True)], ids=["by column", "used twice"]
)
def test_other_multiplications_stay(other) -> None:
    before = other.SerializeToString(deterministic=True)
    merge_normalizations(other)
    assert other.SerializeToString(deterministic=True) == before
