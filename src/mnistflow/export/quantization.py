"""Quantization of an ONNX graph to int8: weights and activations of convolutions and matrix products.

onnxruntime's static quantization in QDQ format: scales of weights are one for each output channel, those of activations
come from the ranges that held-out examples show (Jacob et al., arXiv:1712.05877).
"""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mnistflow.arrays import Array
from mnistflow.errors import StageError
from mnistflow.runtime import onnx_session
from mnistflow.tasks.task import Signature

if TYPE_CHECKING:
    import onnx

OPERATORS = ("Conv", "MatMul", "Gemm")
# Names of the nodes of the layers Levels and Geometry, whose products have no trained weights.
NORMALIZATION = re.compile(r"(^|/)(levels|geometry)[_\d]*/")
EXAMPLES = 512  # of the validation split, from which the ranges of activations are taken
BATCH_SIZE = 128
WARNINGS, ERRORS = 2, 3  # severities of onnxruntime's messages, of which the first is its default


def quantized(model: onnx.ModelProto, signature: Signature, inputs: Array, *, all_layers: bool) -> onnx.ModelProto:
    """Return a graph that computes convolutions and matrix products in int8, except those that normalize images.

    Args:
        model: graph in float32.
        signature: of the model.
        inputs: held-out examples `[n, *input_shape]`, of which the first are used.
        all_layers: whether the first and the last layer are quantized too, which lose most by it.

    Raises:
        StageError: no layer can be quantized, or int8 would make the file larger.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder, _quietly():
        source, optimized, target = (Path(folder) / f"{name}.onnx" for name in ("float32", "optimized", "int8"))
        onnx.save_model(model, str(source))
        # Constants are folded and normalizations merged first, so that no scale is wasted on what disappears.
        quant_pre_process(str(source), str(optimized), skip_symbolic_shape=True)
        graph = onnx.load(optimized).graph
        kept = [] if all_layers else _ends(graph)
        quantize_static(
            str(optimized),
            str(target),
            _reader(signature, inputs),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(OPERATORS),
            nodes_to_exclude=[*_normalizations(graph), *kept],
            per_channel=True,
            # Without VNNI, CPUs add pairs of products in 16 bits, which 8 bits of weight can overflow.
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
        )
        result = onnx.load(target)
    _require_gain(model, result, kept)
    return result


def _require_gain(model: onnx.ModelProto, result: onnx.ModelProto, kept: Sequence[str]) -> None:
    """Raise StageError if no weight is in int8, or the quantized graph is not smaller than the one in float32.

    Args:
        model: graph in float32.
        result: the quantized graph.
        kept: first and last layers that were left in float32.
    """
    before, after = model.ByteSize(), result.ByteSize()
    if not any(tensor.data_type == tensor.INT8 for tensor in result.graph.initializer):
        only = " other than the first and the last one, which stay in float32" if kept else ""
        also = ", or export.quantize_ends to true" if kept else ""
        raise StageError(
            f"export.precision: int8 has nothing to quantize: the model has no layer with weights{only}",
            f"Set it to float32{also}.",
        )
    if after >= before:
        raise StageError(
            f"export.precision: int8 does not make the model smaller: {after:,} bytes instead of {before:,}",
            "Set it to float32.",
        )


def _normalizations(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the nodes that normalize images."""
    return [node.name for node in graph.node if NORMALIZATION.search(node.name)]


def _ends(graph: onnx.GraphProto) -> list[str]:
    """Return the names of the layers that depend on no other layer, or that no other depends on.

    A layer is a convolution or matrix product with weights. An ensemble has a first and a last layer for each member.
    """
    constants = {tensor.name for tensor in graph.initializer}
    layers = {
        node.name
        for node in graph.node
        if node.op_type in OPERATORS and node.input[1] in constants and not NORMALIZATION.search(node.name)
    }
    forwards = ((node.name, node.input, node.output) for node in graph.node)
    backwards = ((node.name, node.output, node.input) for node in reversed(graph.node))
    return sorted(_outermost(layers, forwards) | _outermost(layers, backwards))


def _outermost(layers: set[str], nodes: Iterable[tuple[str, Iterable[str], Iterable[str]]]) -> set[str]:
    """Return the layers that no other layer leads to.

    Args:
        layers: names.
        nodes: name, tensors before and tensors after each node of the graph, in topological order.
    """
    outermost, reached = set(), set[str]()
    for name, before, after in nodes:
        if not reached.isdisjoint(before):
            reached.update(after)
        elif name in layers:
            outermost.add(name)
            reached.update(after)
    return outermost


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
    """Silence what onnxruntime's quantization prints: advice by the root logger, and warnings of its own sessions."""
    import onnxruntime

    root = logging.getLogger()
    before = root.level
    root.setLevel(logging.ERROR)
    onnxruntime.set_default_logger_severity(ERRORS)
    try:
        yield
    finally:
        root.setLevel(before)
        onnxruntime.set_default_logger_severity(WARNINGS)
