"""Sources of batch scoring: pictures in a folder, an array in .npz or .npy, or Parquet; local or remote by fsspec.

A source is read once, block by block, so it may be larger than memory. The blocks depend on the source and their size
only: a scoring that was killed divides it into the same blocks again.
"""

from __future__ import annotations

import hashlib
import zipfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import IO, Any

import fsspec
import numpy as np

from serving.engine.model import IMAGE_SHAPE
from serving.errors import CommandError
from serving.protocol.tensors import Array, TensorSpec
from serving.scoring import lists

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif"})


@dataclass(frozen=True)
class Block:
    """Consecutive rows of a source.

    Attributes:
        number: of the block, from 0.
        first: number of its first row.
        names: of pictures, which workers read; empty for other sources.
        rows: inputs `[n, *input_shape]`, or encoded pictures, of which None is a missing one; empty where `names` has
            the pictures.
        errors: why a row has no input, by its index in the block; its input is 0.
    """

    number: int
    first: int
    rows: Array | Sequence[bytes | None]
    names: tuple[str, ...] = ()
    errors: Mapping[int, str] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.names) or len(self.rows)


class Source(ABC):
    """Rows to score.

    Attributes:
        identity: digest of names, sizes and times of the files: the same as long as nobody has changed them.
        count: number of rows.
    """

    identity: str
    count: int

    @abstractmethod
    def blocks(self, size: int) -> Iterator[Block]:
        """Yield all rows in blocks of `size`, the last of which may be smaller.

        Raises:
            CommandError: the source cannot be read, or does not fit the input of the model.
        """


def open_source(url: str, spec: TensorSpec, output: str) -> Source:
    """Return the source that a path or URL names.

    Args:
        url: such as `pictures/`, `images.npz` or `s3://bucket/images.parquet`.
        spec: input of the model.
        output: folder of the results, which is no part of the source if it is below it.

    Raises:
        CommandError: nothing is there, it has no rows, or it is of no kind that can be scored.
    """
    try:
        source = _open(url, spec, output)
    except (OSError, ImportError, ValueError) as error:
        raise CommandError(f"{url} cannot be read: {_reason(error)}.") from error
    if not source.count:
        raise CommandError(f"{url} has no rows.")
    return source


def _open(url: str, spec: TensorSpec, output: str) -> Source:
    files, path = fsspec.core.url_to_fs(url)
    if files.isdir(path):
        return _open_folder(files, path, spec, fsspec.core.url_to_fs(output)[1])
    suffix = PurePosixPath(path).suffix.lower()
    if not files.exists(path):
        raise CommandError(f"{url} does not exist. Name a folder of images, or a .npz, .npy or .parquet file.")
    if suffix == ".parquet":
        return _Parquet(files, {path: files.info(path)}, spec)
    if suffix in (".npz", ".npy"):
        return _ArrayFile(files, path, spec)
    raise CommandError(f"{url} is neither a folder of images nor a .npz, .npy or .parquet file.")


def _open_folder(files: Any, folder: str, spec: TensorSpec, output: str) -> Source:
    found = {
        name: facts
        for name, facts in files.find(folder, detail=True).items()
        if output == folder or not PurePosixPath(name).is_relative_to(output)
    }
    pictures, parquet = (
        {name: facts for name, facts in found.items() if PurePosixPath(name).suffix.lower() in suffixes}
        for suffixes in (PICTURES, {".parquet"})
    )
    if pictures and parquet:
        raise CommandError(f"{folder} has images and Parquet files, such as {min(parquet)}. Name a folder of one kind.")
    if parquet:
        return _Parquet(files, parquet, spec)
    if pictures:
        return _Pictures(pictures, spec)
    raise CommandError(f"{folder} has no images of these types: {', '.join(sorted(PICTURES))}.")


class _Pictures(Source):
    def __init__(self, found: Mapping[str, Mapping[str, Any]], spec: TensorSpec) -> None:
        _check_takes_pictures(spec)
        self._names = tuple(sorted(found))
        self.identity = _identity(found)
        self.count = len(self._names)

    def blocks(self, size: int) -> Iterator[Block]:
        for number, first in enumerate(range(0, self.count, size)):
            yield Block(number, first, (), self._names[first : first + size])


class _ArrayFile(Source):
    """An array in the format of numpy, read as a stream: an archive may be compressed, and larger than memory."""

    def __init__(self, files: Any, path: str, spec: TensorSpec) -> None:
        self._files, self._path, self._spec = files, path, spec
        self.identity = _identity({path: files.info(path)})
        with files.open(path, "rb") as raw:
            self.count = self._header(self._array(raw))

    def blocks(self, size: int) -> Iterator[Block]:
        with self._files.open(self._path, "rb") as raw:
            stream = self._array(raw)
            self._header(stream)
            shape = self._spec.shape[1:]
            row_bytes = int(np.prod(shape)) * self._spec.dtype.itemsize
            for number, first in enumerate(range(0, self.count, size)):
                rows = min(size, self.count - first)
                content = stream.read(rows * row_bytes)
                if len(content) < rows * row_bytes:
                    raise CommandError(
                        f"{self._path} ends after {first + len(content) // row_bytes} rows: it is damaged."
                    )
                yield Block(number, first, np.frombuffer(content, self._spec.dtype).reshape(rows, *shape))

    def _array(self, raw: IO[bytes]) -> IO[bytes]:
        if PurePosixPath(self._path).suffix.lower() == ".npy":
            return raw
        try:
            archive = zipfile.ZipFile(raw)
        except zipfile.BadZipFile:
            raise CommandError(f"{self._path} is not an .npz file.") from None
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        chosen = names[0] if len(names) == 1 else self._spec.name
        if chosen not in names:
            raise CommandError(f"{self._path} has the arrays {', '.join(names)}: rename the one to score to {chosen}.")
        return archive.open(f"{chosen}.npy")

    def _header(self, stream: IO[bytes]) -> int:
        """Read the header of the array, and return the number of its rows."""
        try:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
            shape, is_fortran, dtype = read(stream)
        except ValueError:
            raise CommandError(f"{self._path} is not an array of NumPy.") from None
        one_row = (1, *shape[1:])
        if dtype != self._spec.dtype or is_fortran or not shape or not self._spec.accepts(one_row):
            wanted = f"{self._spec.datatype} {list(self._spec.shape)}"
            raise CommandError(
                f"{self._path} holds {dtype} {list(shape)}, but the model needs {wanted}, in row-major order."
            )
        return int(shape[0])


class _Parquet(Source):
    """Parquet files with a column of inputs, as lists of numbers, or of encoded pictures."""

    def __init__(self, files: Any, found: Mapping[str, Mapping[str, Any]], spec: TensorSpec) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        self._files, self._spec = files, spec
        self._columns: dict[str, str] = {}  # path of each file -> its column of inputs
        self.identity = _identity(found)
        self.count = 0
        for path in sorted(found):
            try:
                with files.open(path, "rb") as stream:
                    file = pq.ParquetFile(stream)
                    self._columns[path] = _column_of(file.schema_arrow, spec, path)
                    self.count += file.metadata.num_rows
            except pa.ArrowInvalid as error:
                raise CommandError(f"{path} is not a Parquet file: {_reason(error)}.") from None

    def blocks(self, size: int) -> Iterator[Block]:
        for number, (first, batch) in enumerate(self._batches(size)):
            rows, errors = _rows(batch, self._spec)
            yield Block(number, first, rows, errors=errors)

    def _batches(self, size: int) -> Iterator[tuple[int, Any]]:
        import pyarrow.parquet as pq

        first = 0
        for path, column in self._columns.items():
            with self._files.open(path, "rb") as stream:
                for batch in pq.ParquetFile(stream).iter_batches(size, columns=[column]):
                    yield first, batch.column(0)
                    first += len(batch)


def _column_of(schema: Any, spec: TensorSpec, path: str) -> str:
    """Return the column of inputs: the only one, or one named as the input of the model, `images` or `image`."""
    known = [name for name in (spec.name, "images", "image") if name in schema.names]
    if known or len(schema.names) == 1:
        return str(known[0] if known else schema.names[0])
    raise CommandError(f"{path} has the columns {', '.join(schema.names)}: rename the one to score to {spec.name}.")


def _rows(column: Any, spec: TensorSpec) -> tuple[Array | Sequence[bytes | None], dict[int, str]]:
    """Return the rows of a block, and why some have no input, by their index."""
    import pyarrow as pa

    kind = column.type
    if pa.types.is_struct(kind):  # as Hugging Face's `datasets` stores pictures: {bytes, path}
        column, kind = column.field("bytes"), column.field("bytes").type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        _check_takes_pictures(spec)
        return column.to_pylist(), {}
    return lists.numbers(column, spec)


def _check_takes_pictures(spec: TensorSpec) -> None:
    if (spec.datatype, spec.shape) != ("UINT8", (-1, *IMAGE_SHAPE)):
        raise CommandError(f"the model needs {spec.datatype} {list(spec.shape)}, not image files.")


def _identity(found: Mapping[str, Mapping[str, Any]]) -> str:
    digest = hashlib.sha256()
    for name, facts in sorted(found.items()):
        changed = next((facts[key] for key in ("ETag", "mtime", "LastModified", "updated") if key in facts), "")
        digest.update(f"{name}\0{facts['size']}\0{changed}\n".encode())
    return digest.hexdigest()


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".") or type(error).__name__
