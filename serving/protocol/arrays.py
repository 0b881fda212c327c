"""Arrays: converts the data of tensors, as JSON numbers or as bytes, to numpy arrays."""

import math
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
import orjson

from serving.errors import InvalidRequestError
from serving.protocol.pixels import pixels_from_values
from serving.protocol.tensors import Array, TensorSpec

# Largest magnitude up to which every integer has a float64 of its own.
MAX_EXACT_FLOAT = 2.0**53


def array_from_bytes(data: memoryview, spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """Return little-endian, row-major bytes as an array; their number has to fit the shape."""
    array = np.frombuffer(data, spec.dtype).reshape(shape)
    # The data may start at any byte of the body, but numbers wider than a byte have to be aligned in memory.
    return array if spec.dtype.itemsize == 1 else array.copy()


def array_from_values(values: Sequence[Any], spec: TensorSpec, shape: tuple[int, ...]) -> Array:
    """Return numbers from JSON as an array of this shape.

    JSON has only one type of number, and some clients write all of them as floats, so 7.0 is accepted as an integer.

    Raises:
        InvalidRequestError: a value has another type or is out of range.
    """
    if spec.datatype == "UINT8" and (pixels := pixels_from_values(values)) is not None and not _has_booleans(values):
        return np.frombuffer(pixels, np.uint8).reshape(shape)
    types = set(map(type, values))
    if not types <= {int, float} or (float in types and spec.dtype.kind != "f" and not all(map(_is_integer, values))):
        raise InvalidRequestError(f"input {spec.name} has values that are not {spec.datatype}")
    if float in types and spec.dtype.kind != "f":
        values = list(map(int, values))
    try:
        with np.errstate(over="ignore"):
            array = np.array(values, spec.dtype)
    except (OverflowError, ValueError):
        array = None
    if array is None or (spec.dtype.kind == "f" and not np.isfinite(array).all()):
        raise InvalidRequestError(f"input {spec.name} has values out of the range of {spec.datatype}")
    return array.reshape(shape)


def flatten(data: Any, shape: tuple[int, ...], name: str) -> list[Any]:
    """Return the values of a flat list, or of lists nested exactly as `shape` says.

    Raises:
        InvalidRequestError: the data of this input are neither, or their number does not fit.
    """
    if not isinstance(data, list):
        raise InvalidRequestError(f"input {name} has no list as data")
    if not data or not isinstance(data[0], list):
        if len(data) != math.prod(shape):
            raise InvalidRequestError(f"input {name} has {len(data)} values, but its shape needs {math.prod(shape)}")
        return data
    level: list[Any] = [data]
    for size in shape:
        if set(map(type, level)) != {list} or set(map(len, level)) != {size}:
            raise InvalidRequestError(f"input {name} has data whose nesting does not match its shape")
        level = list(chain.from_iterable(level))
    return level


def _is_integer(value: float) -> bool:
    # A larger float may differ from what the client wrote: JSON integers beyond 64 bits are decoded as floats, too.
    return type(value) is int or (abs(value) <= MAX_EXACT_FLOAT and value == int(value))


def _has_booleans(values: Sequence[Any]) -> bool:
    # Of the values that pass as pixels, only `true` and `false` have an "e" in JSON.
    return b"e" in orjson.dumps(values)
