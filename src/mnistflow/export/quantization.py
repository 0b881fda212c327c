"""Quantization of an ONNX graph to int8: weights and activations of convolutions and matrix products.

onnxruntime's static quantization in QDQ format: scales of weights are one for each output channel, those of activations
come from the ranges that held-out examples show (Jacob et al., arXiv:1712.05877).
"""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistflow.arrays import Array
from mnistflow.runtime import onnx_session
from mnistflow.tasks.task import Signature

if TYPE_CHECKING:
    import onnx

OPERATORS = ("Conv", "MatMul", "Gemm")
EXAMPLES = 512  # of the validation split, from which the ranges of activations are taken
BATCH_SIZE = 128


def quantized(model: onnx.ModelProto, signature: Signature, inputs: Array, *, all_layers: bool) -> onnx.ModelProto:
    """Return a graph that computes convolutions and matrix products in int8; a graph without any stays as it is.

    Args:
        model: graph in float32.
        signature: of the model.
        inputs: held-out examples `[n, *input_shape]`, of which the first are used.
        all_layers: whether the first and the last layer are quantized too, which lose most by it.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, _quietly():
        source, optimized, target = (Path(folder) / f"{name}.onnx" for name in ("float32", "optimized", "int8"))
        onnx.save_model(model, str(source))
        # Constants are folded and normalizations merged first, so that no scale is wasted on what disappears.
        quant_pre_process(str(source), str(optimized), skip_symbolic_shape=True)
        layers = [node.name for node in onnx.load(optimized).graph.node if node.op_type in OPERATORS]
        quantize_static(
            str(optimized),
            str(target),
            _reader(signature, inputs),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(OPERATORS),
            nodes_to_exclude=[] if all_layers else [*layers[:1], *layers[-1:]],
            per_channel=True,
            # Without VNNI, CPUs add pairs of products in 16 bits, which 8 bits of weight can overflow.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(target)


def _reader(signature: Signature, inputs: Array) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Batches of examples, one at a time, then None."""

        def __init__(self) -> None:
            self._starts = iter(range(0, min(EXAMPLES, len(inputs)), BATCH_SIZE))

        def get_next(self) -> dict[str, Array] | None:
            start = next(self._starts, None)
            if start is None:
                return None
            return onnx_session.by_name(inputs[start : min(start + BATCH_SIZE, EXAMPLES)], signature.input_name)

    return Reader()


@contextmanager
def _quietly() -> Iterator[None]:
    """Silence the advice that onnxruntime's quantization logs with the root logger."""
    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(before)
