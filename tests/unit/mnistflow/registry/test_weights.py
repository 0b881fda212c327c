"""Digest of the weights of an ONNX file."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from mnistflow.registry import weights


def digest(folder: Path, weight: float = 1.0, name: str = "weight", operator: str = "Add", run: str = "1") -> str:
    values = numpy_helper.from_array(np.array([weight, 2], np.float32), name)
    tensors = [helper.make_tensor_value_info(each, TensorProto.FLOAT, [2]) for each in ("input", "output")]
    node = helper.make_node(operator, ["input", name], ["output"])
    model = helper.make_model(helper.make_graph([node], "graph", tensors[:1], tensors[1:], [values]))
    helper.set_model_props(model, {"run_id": run})
    onnx.save_model(model, str(folder / "model.onnx"))
    return weights.digest(folder / "model.onnx")


def test_it_depends_on_weights_and_operators_only(tmp_path: Path) -> None:
    assert digest(tmp_path) == digest(tmp_path, name="weight_1", run="2")
    assert len({digest(tmp_path), digest(tmp_path, weight=1.0000001), digest(tmp_path, operator="Mul")}) == 3
