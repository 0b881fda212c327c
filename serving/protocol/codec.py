"""The Open Inference Protocol v2 in JSON, with Triton's extension for binary tensors: parsing, checking, serialising.

https://github.com/kserve/open-inference-protocol
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
import orjson

from serving.errors import InvalidRequestError
from serving.protocol.pixels import pixels_of
from serving.protocol.tensors import Array, TensorSpec

Specs = Mapping[str, TensorSpec]
# Up to here, every whole number is a float of its own.
EXACT_FLOAT = 2.0**53
# What the protocol lets a parameter be.
SCALARS = frozenset((str, int, float, bool))
ASK_BINARY = "ask for it as binary data"


class InferenceRequest(NamedTuple):
    """A request that fits the model's signature.

    Attributes:
        id: to be echoed; None when none was given.
        inputs: arrays by name, all with the same number of rows.
        outputs: whether each is wanted as bytes behind the JSON, by name; at least one, in the order of the answer.
    """

    id: str | None
    inputs: dict[str, Array]
    outputs: Mapping[str, bool]


class SerialisedResponse(NamedTuple):
    """A body, and the length of the JSON at its start when tensors follow as bytes."""

    body: bytes
    header_length: int | None


def parse_request(
    body: bytes, header_length: int | None, inputs: Specs, outputs: Specs, max_rows: int
) -> InferenceRequest:
    """Read an inference request for a model with this signature.

    Args:
        body: JSON; with `header_length`, followed by the bytes of binary tensors in the order of the inputs.
        header_length: length of the JSON when the body may hold more; 0 for nothing but the bytes of a single input.
        inputs: the model's inputs by name.
        outputs: the model's outputs by name.
        max_rows: largest batch.

    Raises:
        InvalidRequestError: says what is not as it should be.
    """
    if header_length == 0:
        return _raw_request(body, inputs, outputs, max_rows)
    split = len(body) if header_length is None else header_length
    if split > len(body):
        raise InvalidRequestError("Inference-Header-Content-Length is more than the body has")
    return parse_tree(_json(body[:split]), memoryview(body)[split:], inputs, outputs, max_rows)


def parse_tree(tree: Any, rest: memoryview, inputs: Specs, outputs: Specs, max_rows: int) -> InferenceRequest:
    """Read an inference request that is decoded already.

    Args:
        tree: the request as JSON has it.
        rest: bytes of the binary tensors, in the order of the inputs.
        inputs: as in `parse_request`.
        outputs: as in `parse_request`.
        max_rows: as in `parse_request`.

    Raises:
        InvalidRequestError: says what is not as it should be.
    """
    tree = _object(tree, "the request")
    request_id = tree.get("id")
    if request_id is not None and not isinstance(request_id, str):
        raise InvalidRequestError("id has to be a string")
    binary = _flag(_parameters(tree, "the request"), "binary_data_output", False)
    arrays = _parse_inputs(tree.get("inputs"), rest, inputs, max_rows)
    return InferenceRequest(request_id, arrays, _parse_outputs(tree.get("outputs"), binary, outputs))


def serialise_response(
    model_name: str, model_version: int, request: InferenceRequest, arrays: Mapping[str, Array], outputs: Specs
) -> SerialisedResponse:
    """Write the answer to `request`, with the outputs computed for it.

    Raises:
        InvalidRequestError: an output holds values that JSON cannot carry.
    """
    tensors: list[bytes] = []
    blobs: list[bytes] = []
    for name, is_binary in request.outputs.items():
        spec = outputs[name]
        array = np.ascontiguousarray(arrays[name], spec.dtype)
        opening = _tensor_opening(name, spec.datatype, array.shape)
        if is_binary:
            blobs.append(array.tobytes())
            tensors.append(opening + b'"parameters":{"binary_data_size":%d}}' % array.nbytes)
        else:
            tensors.append(opening + b'"data":' + _numbers(array, spec) + b"}")
    ending = b"]}" if request.id is None else b'],"id":%b}' % orjson.dumps(request.id)
    header = _answer_opening(model_name, model_version) + b",".join(tensors) + ending
    return SerialisedResponse(b"".join((header, *blobs)), len(header)) if blobs else SerialisedResponse(header, None)


def describe_model(name: str, versions: Sequence[int], inputs: Specs, outputs: Specs) -> dict[str, Any]:
    """Return a model's metadata as the protocol has it."""
    return {
        "name": name,
        "versions": [str(version) for version in versions],
        "platform": "onnxruntime_onnx",
        "inputs": [_description(spec) for spec in inputs.values()],
        "outputs": [_description(spec) for spec in outputs.values()],
    }


def describe_configuration(name: str, inputs: Specs, outputs: Specs, max_rows: int) -> dict[str, Any]:
    """Return a model's configuration as Triton has it."""
    return {
        "name": name,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": max_rows,
        "input": [_configured(spec) for spec in inputs.values()],
        "output": [_configured(spec) for spec in outputs.values()],
        "dynamic_batching": {"max_queue_delay_microseconds": 0},
    }


def parse_index_request(body: bytes) -> bool:
    """Say whether only models that are ready are asked for; the body may be empty.

    Raises:
        InvalidRequestError: says what is not as it should be.
    """
    return bool(body) and _flag(_object(_json(body), "the request"), "ready", False)


def check_load_request(body: bytes) -> None:
    """Check a request to load a model; the body may be empty.

    Raises:
        InvalidRequestError: it brings a configuration or files, or is not as it should be.
    """
    if body and _parameters(_object(_json(body), "the request"), "the request"):
        raise InvalidRequestError("models are loaded by name from the repository: no configuration, files or URLs")


def array_from_values(values: Sequence[Any], spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """Return numbers, as JSON has them, as an array of this shape.

    JSON knows one kind of number, and some clients write all of them with a point: 7.0 is a whole number, too.

    Raises:
        InvalidRequestError: a value is of another type, or out of range.
    """
    if spec.datatype == "UINT8" and (pixels := pixels_of(values)) is not None and not _have_truths(values):
        return np.frombuffer(pixels, np.uint8).reshape(shape)
    kinds = set(map(type, values))
    if not kinds <= {int, float} or (float in kinds and spec.dtype.kind != "f" and not all(map(_is_whole, values))):
        raise InvalidRequestError(f"input {spec.name} has values that are no {spec.datatype}")
    if float in kinds and spec.dtype.kind != "f":
        values = list(map(int, values))
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, spec.dtype)
    except (OverflowError, ValueError):
        array = None
    if array is None or (spec.dtype.kind == "f" and not np.isfinite(array).all()):
        raise InvalidRequestError(f"input {spec.name} has values out of the range of {spec.datatype}")
    return array.reshape(shape)


def _is_whole(value: float) -> bool:
    # Larger ones need not be what was written: beyond 64 bits, whole numbers are read as floats as well.
    return type(value) is int or (abs(value) <= EXACT_FLOAT and value == int(value))


def _have_truths(values: Sequence[Any]) -> bool:
    # In JSON they are the ones that are written with letters.
    return b"e" in orjson.dumps(values)


def _configured(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "data_type": f"TYPE_{spec.datatype}", "dims": spec.shape[1:]}


def _description(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}


def _raw_request(body: bytes, inputs: Specs, outputs: Specs, max_rows: int) -> InferenceRequest:
    # The answer is binary, too: a client that sends no JSON is not made to read any numbers from it.
    if len(inputs) != 1:
        raise InvalidRequestError("a body without JSON needs a model with a single input")
    (spec,) = inputs.values()
    if -1 in spec.shape[1:]:
        raise InvalidRequestError("a body without JSON needs a model with fixed sizes")
    row_bytes = math.prod(spec.shape[1:]) * spec.dtype.itemsize
    rows, rest = divmod(len(body), row_bytes)
    if rows == 0 or rest:
        raise InvalidRequestError(f"a body without JSON has to hold a multiple of {row_bytes} bytes")
    _check_rows(rows, max_rows)
    array = array_from_bytes(memoryview(body), spec, (rows, *spec.shape[1:]))
    return InferenceRequest(None, {spec.name: array}, dict.fromkeys(outputs, True))


def _parse_inputs(tensors: Any, rest: memoryview, specs: Specs, max_rows: int) -> dict[str, Array]:
    if not isinstance(tensors, list) or len(tensors) != len(specs):
        raise InvalidRequestError(f"inputs has to be a list of exactly: {', '.join(specs)}")
    arrays: dict[str, Array] = {}
    for entry in tensors:
        tensor = _object(entry, "an input")
        spec = _named(tensor, specs, arrays, "input")
        shape = _shape(tensor, spec)
        _check_rows(shape[0], max_rows)
        size = _parameters(tensor, spec.name).get("binary_data_size")
        if size is None:
            arrays[spec.name] = _from_json(tensor, spec, shape)
        else:
            blob = _blob(tensor, spec, shape, size, rest)
            arrays[spec.name] = array_from_bytes(blob, spec, shape)
            rest = rest[len(blob) :]
    if len(rest):
        raise InvalidRequestError("the body has bytes that belong to no input")
    if len({len(array) for array in arrays.values()}) != 1:
        raise InvalidRequestError("the inputs differ in their number of rows")
    return arrays


def _parse_outputs(entries: Any, binary_by_default: bool, specs: Specs) -> Mapping[str, bool]:
    if entries is None or entries == []:
        return dict.fromkeys(specs, binary_by_default)
    if not isinstance(entries, list) or len(entries) > len(specs):
        raise InvalidRequestError(f"outputs has to be a list of some of: {', '.join(specs)}")
    requested: dict[str, bool] = {}
    for entry in entries:
        output = _object(entry, "an output")
        name = _named(output, specs, requested, "output").name
        requested[name] = _flag(_parameters(output, name), "binary_data", binary_by_default)
    return requested


def _named(tensor: dict[str, Any], specs: Specs, seen: Mapping[str, Any], kind: str) -> TensorSpec:
    name = tensor.get("name")
    if not isinstance(name, str) or name not in specs:
        raise InvalidRequestError(f"{kind}s have to be named: {', '.join(specs)}")
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
        raise InvalidRequestError(f"at most {max_rows} rows go into one request")


def _blob(tensor: dict[str, Any], spec: TensorSpec, shape: tuple[int, ...], size: Any, rest: memoryview) -> memoryview:
    if "data" in tensor:
        raise InvalidRequestError(f"input {spec.name} has both data and binary_data_size")
    needed = math.prod(shape) * spec.dtype.itemsize
    if type(size) is not int or size != needed:
        raise InvalidRequestError(f"input {spec.name} of this shape needs {needed} bytes")
    if len(rest) < needed:
        raise InvalidRequestError(f"the body ends before the bytes of input {spec.name} do")
    return rest[:needed]


def array_from_bytes(blob: memoryview, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """Return as many bytes as the shape needs as an array."""
    array = np.frombuffer(blob, spec.dtype).reshape(shape)
    # Bytes may start anywhere in the body, numbers wider than a byte have to be aligned in memory.
    return array if spec.dtype.itemsize == 1 else array.copy()


def _from_json(tensor: dict[str, Any], spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    if spec.datatype == "FP16":
        raise InvalidRequestError("FP16 cannot be sent as JSON, send it as binary data")
    return array_from_values(_flat(tensor.get("data"), shape, spec.name), spec, shape)


def _flat(data: Any, shape: tuple[int, ...], name: str) -> list[Any]:
    """Return the values of flat data, or of data nested exactly as `shape` says."""
    if not isinstance(data, list):
        raise InvalidRequestError(f"input {name} has no list of data")
    if not data or not isinstance(data[0], list):
        if len(data) != math.prod(shape):
            raise InvalidRequestError(f"input {name} has {len(data)} values, its shape asks for {math.prod(shape)}")
        return data
    level: list[Any] = [data]
    for size in shape:
        if set(map(type, level)) != {list} or set(map(len, level)) != {size}:
            raise InvalidRequestError(f"input {name} has data that is not nested as its shape says")
        level = list(chain.from_iterable(level))
    return level


@lru_cache
def _answer_opening(model_name: str, model_version: int) -> bytes:
    return orjson.dumps({"model_name": model_name, "model_version": str(model_version)})[:-1] + b',"outputs":['


@lru_cache
def _tensor_opening(name: str, datatype: str, shape: tuple[int, ...]) -> bytes:
    return orjson.dumps({"name": name, "datatype": datatype, "shape": shape})[:-1] + b","


def _numbers(array: Array, spec: TensorSpec) -> bytes:
    if spec.datatype == "FP16":
        raise InvalidRequestError(f"output {spec.name} is FP16, which JSON does not carry, {ASK_BINARY}")
    numbers = orjson.dumps(array.ravel(), option=orjson.OPT_SERIALIZE_NUMPY)
    # What JSON has no number for is written as null.
    if b"n" in numbers:
        raise InvalidRequestError(f"output {spec.name} has values that JSON cannot carry, {ASK_BINARY}")
    return numbers


def _json(content: bytes) -> Any:
    try:
        return orjson.loads(content)
    except orjson.JSONDecodeError as error:
        if b"binary_data_size" in content:
            raise InvalidRequestError(
                "the body is not JSON alone: bytes behind it need its length in Inference-Header-Content-Length"
            ) from None
        raise InvalidRequestError(f"the body is not valid JSON: {error.msg} (at character {error.pos})") from None


def _object(value: Any, what: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InvalidRequestError(f"{what} has to be a JSON object")
    return value


def _parameters(owner: dict[str, Any], what: str) -> dict[str, Any]:
    given = owner.get("parameters")
    if given is None:
        return {}
    parameters = _object(given, f"parameters of {what}")
    if not SCALARS.issuperset(map(type, parameters.values())):
        raise InvalidRequestError(f"parameters of {what} have to be strings, numbers or booleans")
    return parameters


def _flag(parameters: dict[str, Any], name: str, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InvalidRequestError(f"{name} has to be true or false")
    return value
