"""Digest of the weights of an ONNX file: equal for two trainings that gave the same model, byte for byte."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx


def digest(path: Path) -> str:
    """Return the hexadecimal SHA-256 over weights and operators of an ONNX file.

    It leaves out the metadata, which states run and time, and the names inside the graph, which count the models that a
    process has built before.

    Args:
        path: of the file.
    """
    import onnx

    parts = sorted(_digests(onnx.load(str(path)).graph))
    return hashlib.sha256(b"".join(parts)).hexdigest()


def _digests(graph: onnx.GraphProto) -> Iterator[bytes]:
    from onnx import numpy_helper

    for tensor in graph.initializer:
        content = f"{tensor.data_type} {list(tensor.dims)}".encode()
        yield hashlib.sha256(content + numpy_helper.to_array(tensor).tobytes()).digest()
    for node in graph.node:
        attributes = sorted(one.SerializeToString(deterministic=True) for one in node.attribute)
        yield hashlib.sha256(b"".join([f"{node.domain} {node.op_type}".encode(), *attributes])).digest()
