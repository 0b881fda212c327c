"""IDX files, the format of MNIST: a magic number, big-endian sizes, then the values (yann.lecun.com/exdb/mnist)."""

import gzip
import math
import struct
import zlib
from collections.abc import Mapping
from io import BufferedIOBase
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mnistflow import files
from mnistflow.errors import DataError
from mnistflow.splits import OfficialSplits, Split

IMAGE_SHAPE = (28, 28)
MAX_BYTES = 2**28  # limit for files whose size is not in the catalogue

_DTYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_UINT8 = 0x08
_GZIP_MAGIC = b"\x1f\x8b"


def read(path: Path, max_bytes: int = MAX_BYTES) -> NDArray[Any]:
    """Return the array in an IDX file, compressed by gzip or not. It is read-only and has the file's byte order.

    Args:
        path: the file.
        max_bytes: largest accepted size of the decompressed file, checked before memory is allocated.

    Raises:
        DataError: the file is missing, truncated, too large, or not an IDX file.
    """
    try:
        with path.open("rb") as file:
            compressed = file.read(2) == _GZIP_MAGIC
            file.seek(0)
            return _array(gzip.open(file) if compressed else file, max_bytes)
    except FileNotFoundError as error:
        raise DataError(f"{path} is missing", "Run `mnistflow fetch`.") from error
    except (EOFError, zlib.error, OSError, ValueError) as error:
        raise DataError(f"{path} is not a valid IDX file: {error}", "Delete it and run `mnistflow fetch`.") from error


def write(path: Path, array: NDArray[np.uint8]) -> Path:
    """Write an array as an uncompressed IDX file, atomically, and return its path."""
    header = struct.pack(f">HBB{array.ndim}I", 0, _UINT8, array.ndim, *array.shape)
    with files.atomic_write(path) as temporary:
        temporary.write_bytes(header + array.tobytes())
    return path


def read_splits(folder: Path, suffix: str = "", limits: Mapping[str, int] | None = None) -> OfficialSplits:
    """Return the splits in four files with MNIST's names: inputs as stored, targets int64.

    Args:
        folder: of the files.
        suffix: of the file names, such as `.gz`.
        limits: file name -> decompressed size.

    Raises:
        DataError: as `read`.
    """

    def array(name: str) -> NDArray[Any]:
        return read(folder / f"{name}{suffix}", (limits or {}).get(f"{name}{suffix}", MAX_BYTES))

    def split(prefix: str) -> Split:
        return Split(array(f"{prefix}-images-idx3-ubyte"), array(f"{prefix}-labels-idx1-ubyte").astype(np.int64))

    return OfficialSplits(train=split("train"), test=split("t10k"))


def _array(stream: BufferedIOBase, max_bytes: int) -> NDArray[Any]:
    zeros, code, dimensions = struct.unpack(">HBB", _exactly(stream, 4))
    if zeros or code not in _DTYPES or not dimensions:
        raise ValueError(f"wrong magic number {zeros:04x}{code:02x}{dimensions:02x}")
    dtype = np.dtype(_DTYPES[code])
    shape = struct.unpack(f">{dimensions}I", _exactly(stream, 4 * dimensions))
    size = math.prod(shape) * dtype.itemsize
    if 4 + 4 * dimensions + size > max_bytes:
        raise ValueError(f"the header declares shape {list(shape)}, more than {max_bytes} bytes")
    content = _exactly(stream, size)
    # Reading beyond the end also makes gzip verify its checksum.
    if stream.read(1):
        raise ValueError(f"more bytes than the shape {list(shape)} in the header")
    return np.frombuffer(content, dtype).reshape(shape)


def _exactly(stream: BufferedIOBase, size: int) -> bytes:
    content = stream.read(size)
    if len(content) < size:
        raise ValueError(f"truncated by {size - len(content)} bytes")
    return content
