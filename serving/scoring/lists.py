"""Lists of numbers in a column of Arrow, as inputs of a model; each row that does not fit has an error."""

from __future__ import annotations

from typing import Any

import numpy as np

from serving.errors import CommandError
from serving.protocol.tensors import Array, TensorSpec


def numbers(column: Any, spec: TensorSpec) -> tuple[Array, dict[int, str]]:
    """Return a column of lists of numbers, nested as the input or flat, as inputs, and the errors of wrong rows.

    Args:
        column: of Arrow.
        spec: input of the model.

    Raises:
        CommandError: the column has no lists of numbers.
    """
    shape, count = spec.shape[1:], len(column)
    values, row_of, errors = column, np.arange(count, dtype=np.int32), dict[int, str]()
    levels = []  # of the nested lists: the row and the length of each
    while _is_list(values.type):
        _note(errors, row_of[_is_null(values)], "the row contains null")
        levels.append((row_of, values.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)))
        values, row_of = values.flatten(), np.repeat(*levels[-1])
    if not _is_number(values.type) or bool(levels) != bool(shape):
        raise CommandError(
            f"the column of {column.type} does not fit the model, which needs {spec.datatype} {list(spec.shape)}."
        )
    _note(errors, row_of[_is_null(values)], "the row contains null")
    counts = np.bincount(row_of, minlength=count)
    for row in np.flatnonzero(counts != np.prod(shape, dtype=int)):
        errors.setdefault(int(row), f"the row has {counts[row]:,} numbers, but the model needs {list(shape)}")
    if len(levels) == len(shape):
        for side, (rows, lengths) in zip(shape, levels, strict=True):
            _note(errors, rows[lengths != side], f"the lists of the row have other lengths than {list(shape)}")
    converted, is_changed = _converted(values.to_numpy(zero_copy_only=False), spec.dtype)
    _note(errors, row_of[is_changed], f"the row has numbers that {spec.datatype} cannot represent")
    inputs = np.zeros((count, *shape), spec.dtype)
    good = np.isin(np.arange(count), list(errors), invert=True)
    inputs[good] = converted[good[row_of]].reshape(-1, *shape)
    return inputs, errors


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _is_number(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind))


def _converted(numbers: Array, dtype: np.dtype[Any]) -> tuple[Array, Array]:
    """Return numbers in another dtype, and whether each has become another number; floats may lose digits."""
    if numbers.dtype == dtype:
        return numbers, np.zeros(len(numbers), bool)
    with np.errstate(invalid="ignore", over="ignore"):
        converted = numbers.astype(dtype)
    if numbers.dtype.kind == dtype.kind == "f":
        return converted, np.isfinite(numbers) & ~np.isfinite(converted)
    return converted, converted != numbers


def _is_null(values: Any) -> Array:
    nulls: Array = values.is_null().to_numpy(zero_copy_only=False)
    return nulls


def _note(errors: dict[int, str], rows: Array, error: str) -> None:
    """Add an error of some rows, unless they have one."""
    for row in np.unique(rows):
        errors.setdefault(int(row), error)
