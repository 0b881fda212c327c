"""Tensors of the Open Inference Protocol: datatypes and signatures."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]

# Little-endian, which is the byte order of binary tensors in the protocol.
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
    """Name, datatype and shape of one input or output of a model.

    Attributes:
        name: in the model.
        datatype: a key of `DTYPES`.
        shape: the size of each dimension; -1 for any size. The first dimension is the batch.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """The numpy dtype."""
        return DTYPES[self.datatype]

    def accepts(self, shape: tuple[int, ...]) -> bool:
        """Return whether an array of this shape fits; every size has to be at least 1."""
        return len(shape) == len(self.shape) and all(
            size >= 1 and wanted in (-1, size) for size, wanted in zip(shape, self.shape, strict=True)
        )


# Inputs or outputs of a model by name.
Specs = Mapping[str, TensorSpec]
