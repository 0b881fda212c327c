"""Inference responses as JSON, with binary tensors after it.

https://github.com/kserve/open-inference-protocol
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import orjson

from serving.errors import InvalidRequestError
from serving.protocol.json_request import InferenceRequest
from serving.protocol.tensors import Array, Specs, TensorSpec

BINARY_HINT = "request it as binary data"


class SerialisedResponse(NamedTuple):
    """The body of a response.

    Attributes:
        body: JSON, followed by the bytes of binary tensors.
        header_length: length of the JSON in bytes, if binary tensors follow; else None.
    """

    body: bytes
    header_length: int | None


def serialise_response(
    model_name: str, model_version: int, request: InferenceRequest, arrays: Mapping[str, Array], outputs: Specs
) -> SerialisedResponse:
    """Serialise the response to `request`.

    Args:
        model_name: of the model that computed `arrays`.
        model_version: of the model that computed `arrays`.
        request: selects the outputs and their form.
        arrays: the computed outputs by name.
        outputs: the model's outputs by name.

    Raises:
        InvalidRequestError: an output has values that JSON cannot represent.
    """
    tensors: list[bytes] = []
    binary: list[bytes] = []
    for name, is_binary in request.outputs.items():
        spec = outputs[name]
        array = np.ascontiguousarray(arrays[name], spec.dtype)
        opening = _tensor_opening(name, spec.datatype, array.shape)
        if is_binary:
            binary.append(array.tobytes())
            tensors.append(opening + b'"parameters":{"binary_data_size":%d}}' % array.nbytes)
        else:
            tensors.append(opening + b'"data":' + _json_numbers(array, spec) + b"}")
    ending = b"]}" if request.id is None else b'],"id":%b}' % orjson.dumps(request.id)
    header = _response_opening(model_name, model_version) + b",".join(tensors) + ending
    return SerialisedResponse(b"".join((header, *binary)), len(header)) if binary else SerialisedResponse(header, None)


@lru_cache
def _response_opening(model_name: str, model_version: int) -> bytes:
    return orjson.dumps({"model_name": model_name, "model_version": str(model_version)})[:-1] + b',"outputs":['


@lru_cache
def _tensor_opening(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    return orjson.dumps({"name": name, "datatype": datatype, "shape": shape})[:-1] + b","


def _json_numbers(array: Array, spec: TensorSpec) -> bytes:
    if spec.datatype == "FP16":
        raise InvalidRequestError(f"output {spec.name} is FP16, which JSON cannot represent: {BINARY_HINT}")
    numbers = orjson.dumps(array.ravel(), option=orjson.OPT_SERIALIZE_NUMPY)
    # orjson writes NaN and infinity as null.
    if b"n" in numbers:
        raise InvalidRequestError(f"output {spec.name} has values that JSON cannot represent: {BINARY_HINT}")
    return numbers
