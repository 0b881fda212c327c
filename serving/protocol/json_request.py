"""Inference requests as JSON, with binary tensors after it: parsing and validation.

https://github.com/kserve/open-inference-protocol
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import math
from collections.abc import Container, Mapping
from typing import Any, NamedTuple

from serving.errors import InvalidRequestError
from serving.protocol.arrays import array_from_bytes, array_from_values, flatten
from serving.protocol.json_fields import InvalidJsonError, as_object, flag, parameters, parse_json
from serving.protocol.tensors import Array, Specs, TensorSpec

MISSING_HEADER_LENGTH = (
    "the body is not JSON alone, and its header Inference-Header-Content-Length is missing. Send the header with the "
    "length of the JSON before the binary tensors, in bytes; or with 0 if the body is only the bytes of the input"
)
NO_SHARED_MEMORY = "shared memory is not offered: send tensors in the request"
NOT_OFFERED = {
    "classification": "the classification extension (class_count) is not offered: request the whole output and sort it",
    "shared_memory_region": NO_SHARED_MEMORY,
}
# Bytes that do not occur in JSON text.
CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\r"))


class InferenceRequest(NamedTuple):
    """An inference request that fits the signature of the model.

    Attributes:
        id: returned in the response; None if the client sent none.
        inputs: arrays by name, all with the same number of rows.
        outputs: by name, in the order of the response, whether each is requested as bytes after the JSON; at least one.
    """

    id: str | None
    inputs: dict[str, Array]
    outputs: Mapping[str, bool]


def parse_request(
    body: bytes, header_length: int | None, inputs: Specs, outputs: Specs, max_rows: int
) -> InferenceRequest:
    """Parse an inference request for a model with this signature.

    Args:
        body: JSON; with `header_length`, followed by the bytes of binary tensors in the order of the inputs.
        header_length: length of the JSON in bytes, if binary tensors follow; 0 if the body is only the bytes of a
            single input.
        inputs: the model's inputs by name.
        outputs: the model's outputs by name.
        max_rows: largest batch.

    Raises:
        InvalidRequestError: the body does not follow the protocol or does not fit the signature.
    """
    if header_length == 0:
        return _parse_raw(body, inputs, outputs, max_rows)
    if header_length is None:
        return parse_tree(_parse_whole(body), memoryview(b""), inputs, outputs, max_rows)
    if header_length > len(body):
        raise InvalidRequestError("Inference-Header-Content-Length is larger than the body")
    try:
        tree = parse_json(body[:header_length])
    except InvalidJsonError as error:
        raise InvalidJsonError(
            f"{error}. The first {header_length} bytes must be the JSON, because Inference-Header-Content-Length "
            "says so"
        ) from None
    return parse_tree(tree, memoryview(body)[header_length:], inputs, outputs, max_rows)


def parse_tree(tree: Any, binary: memoryview, inputs: Specs, outputs: Specs, max_rows: int) -> InferenceRequest:
    """Parse an inference request whose JSON is decoded.

    Args:
        tree: the decoded JSON.
        binary: bytes of the binary tensors, in the order of the inputs.
        inputs: as in `parse_request`.
        outputs: as in `parse_request`.
        max_rows: as in `parse_request`.

    Raises:
        InvalidRequestError: as `parse_request`.
    """
    tree = as_object(tree, "the request")
    request_id = tree.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise InvalidRequestError("id must be a string")
    binary_by_default = flag(parameters(tree, "the request"), "binary_data_output", False)
    arrays = _parse_inputs(tree.get("inputs"), binary, inputs, max_rows)
    return InferenceRequest(request_id, arrays, _parse_outputs(tree.get("outputs"), binary_by_default, outputs))


def parse_index_request(body: bytes) -> bool:
    """Return whether a repository index request asks for models in memory only; the body may be empty.

    Raises:
        InvalidRequestError: the body is not such a request.
    """
    return bool(body) and flag(as_object(parse_json(body), "the request"), "ready", False)


def check_load_request(body: bytes) -> None:
    """Check a request to load a model; the body may be empty.

    Raises:
        InvalidRequestError: it has a configuration or files, or is not such a request.
    """
    if body and parameters(as_object(parse_json(body), "the request"), "the request"):
        raise InvalidRequestError("models are loaded by name from the repository: no configuration, files or URLs")


def check_offered(options: Container[str]) -> None:
    """Refuse the parameters of a tensor that name an extension of Triton's which is not offered.

    Raises:
        InvalidRequestError: instead of an answer that is not what the client asked for.
    """
    for name, refusal in NOT_OFFERED.items():
        if name in options:
            raise InvalidRequestError(refusal)


def _parse_whole(body: bytes) -> Any:
    """Decode a body that has to be JSON as a whole, because it came without Inference-Header-Content-Length."""
    try:
        return parse_json(body)
    except InvalidJsonError:
        if _is_binary(body):
            raise InvalidRequestError(MISSING_HEADER_LENGTH) from None
        raise


def _is_binary(body: bytes) -> bool:
    """Return whether a body that is not JSON contains binary tensors, rather than JSON with a mistake."""
    if b"binary_data_size" in body or len(body.translate(None, CONTROL_BYTES)) < len(body):
        return True
    try:
        body.decode()
    except UnicodeDecodeError:
        return True
    return False


def _parse_raw(body: bytes, inputs: Specs, outputs: Specs, max_rows: int) -> InferenceRequest:
    """Parse a body without JSON. The response is binary as well, so that the client needs no JSON at all."""
    if len(inputs) != 1:
        raise InvalidRequestError("a body without JSON needs a model with a single input")
    (spec,) = inputs.values()
    if -1 in spec.shape[1:]:
        raise InvalidRequestError("a body without JSON needs a model whose input has a fixed size")
    row_bytes = math.prod(spec.shape[1:]) * spec.dtype.itemsize
    rows, rest = divmod(len(body), row_bytes)
    if rows == 0 or rest:
        raise InvalidRequestError(f"a body without JSON must have a multiple of {row_bytes} bytes")
    _check_rows(rows, max_rows)
    array = array_from_bytes(memoryview(body), spec, (rows, *spec.shape[1:]))
    return InferenceRequest(None, {spec.name: array}, dict.fromkeys(outputs, True))


def _parse_inputs(tensors: Any, binary: memoryview, specs: Specs, max_rows: int) -> dict[str, Array]:
    if not isinstance(tensors, list) or len(tensors) != len(specs):
        raise InvalidRequestError(f"inputs must be a list of exactly: {', '.join(specs)}")
    arrays: dict[str, Array] = {}
    for entry in tensors:
        tensor = as_object(entry, "an input")
        spec = _spec(tensor, specs, arrays, "input")
        shape = _shape(tensor, spec)
        _check_rows(shape[0], max_rows)
        options = parameters(tensor, spec.name)
        check_offered(options)
        size = options.get("binary_data_size")
        if size is None:
            arrays[spec.name] = _array_from_json(tensor, spec, shape)
        else:
            data = _binary_data(tensor, spec, shape, size, binary)
            arrays[spec.name] = array_from_bytes(data, spec, shape)
            binary = binary[len(data) :]
    if len(binary):
        raise InvalidRequestError("the body has bytes that belong to no input")
    if len({len(array) for array in arrays.values()}) != 1:
        raise InvalidRequestError("the inputs differ in their number of rows")
    return arrays


def _parse_outputs(entries: Any, binary_by_default: bool, specs: Specs) -> Mapping[str, bool]:
    if entries is None or entries == []:
        return dict.fromkeys(specs, binary_by_default)
    if not isinstance(entries, list) or len(entries) > len(specs):
        raise InvalidRequestError(f"outputs must be a list of some of: {', '.join(specs)}")
    requested: dict[str, bool] = {}
    for entry in entries:
        output = as_object(entry, "an output")
        name = _spec(output, specs, requested, "output").name
        options = parameters(output, name)
        check_offered(options)
        requested[name] = flag(options, "binary_data", binary_by_default)
    return requested


def _spec(tensor: dict[str, Any], specs: Specs, seen: Mapping[str, Any], kind: str) -> TensorSpec:
    name = tensor.get("name")
    if not isinstance(name, str) or name not in specs:
        raise InvalidRequestError(f"each {kind} must have one of these names: {', '.join(specs)}")
    if name in seen:
        raise InvalidRequestError(f"{kind} {name} is given twice")
    return specs[name]


def _shape(tensor: dict[str, Any], spec: TensorSpec) -> tuple[int, ...]:
    datatype = tensor.get("datatype")
    if datatype != spec.datatype:
        raise InvalidRequestError(f"input {spec.name} needs datatype {spec.datatype}")
    shape = tensor.get("shape")
    if not isinstance(shape, list) or set(map(type, shape)) != {int} or not spec.accepts(tuple(shape)):
        raise InvalidRequestError(f"input {spec.name} needs a shape that fits {list(spec.shape)}, with no size below 1")
    return tuple(shape)


def _check_rows(rows: int, max_rows: int) -> None:
    if rows > max_rows:
        raise InvalidRequestError(f"a request may have at most {max_rows} rows")


def _array_from_json(tensor: dict[str, Any], spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    if spec.datatype == "FP16":
        raise InvalidRequestError("FP16 cannot be sent as JSON, send it as binary data")
    return array_from_values(flatten(tensor.get("data"), shape, spec.name), spec, shape)


def _binary_data(
    tensor: dict[str, Any], spec: TensorSpec, shape: tuple[int, ...], size: Any, binary: memoryview
) -> memoryview:
    if "data" in tensor:
        raise InvalidRequestError(f"input {spec.name} has both data and binary_data_size")
    needed = math.prod(shape) * spec.dtype.itemsize
    if type(size) is not int or size != needed:
        raise InvalidRequestError(f"input {spec.name} of this shape needs {needed} bytes")
    if len(binary) < needed:
        raise InvalidRequestError(f"the body ends before the bytes of input {spec.name} do")
    return binary[:needed]
