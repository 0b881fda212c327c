"""Tensors as the Open Inference Protocol speaks of them: datatypes and signatures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Little-endian, because that is the byte order of binary tensors on the wire.
DTYPES: Mapping[str, np.dtype[Any]] = {
    "UINT8": np.dtype("u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "INT8": np.dtype("i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "FP16": np.dtype("<f2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of a model.

    Attributes:
        name: as the model names it.
        datatype: a key of `DTYPES`.
        shape: one size a dimension; -1 where any size goes. The first dimension is the batch.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        return DTYPES[self.datatype]

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Say whether an array of this shape (sizes of at least 1) fits."""
        return len(shape) == len(self.shape) and all(
            size >= 1 and wanted in (-1, size) for size, wanted in zip(shape, self.shape, strict=True)
        )
