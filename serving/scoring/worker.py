"""Worker of batch scoring: computes blocks with one thread, and writes each as one Parquet file."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass
from functools import lru_cache
from multiprocessing.process import BaseProcess
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.errors import ServingError
from serving.images.preprocessing import Reading, read
from serving.protocol.tensors import Array
from serving.scoring.sources import Block
from serving.settings import Settings

# Larger batches leave the caches of a core.
BATCH_ROWS = 64


@dataclass(frozen=True)
class Job:
    """What a worker needs to score blocks.

    Attributes:
        repository: folder of the model repository.
        version: of the model.
        input, output: paths or URLs.
    """

    repository: Path
    model: str
    version: int
    input: str
    output: str

    def part(self, number: int) -> str:
        """Return the path of the file of a block."""
        return f"{self.output.rstrip('/')}/{part_name(number)}"


def part_name(number: int) -> str:
    """Return the name of the file of a block."""
    return f"part-{number:06}.parquet"


def load(job: Job) -> Model:
    """Load the version of a job, with all the checks of a server.

    Raises:
        ModelRefusedError: its files are damaged, or do not reproduce the recorded predictions.
    """
    return Model(ModelRepository(job.repository).read(job.model, job.version))


def start() -> None:
    """Prepare this process for blocks. It ends with the process that has started it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the parent, which ends its workers
    parent = multiprocessing.parent_process()
    if parent:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: BaseProcess) -> None:
    parent.join()
    os._exit(1)


# A worker of a Dask cluster may call with several threads.
_one_at_a_time = threading.Lock()


def score(job: Job, block: Block) -> int:
    """Score a block of a job, write its file, and return the number of its rows."""
    with _one_at_a_time:
        return _worker(job).score(block)


@lru_cache(maxsize=1)
def _worker(job: Job) -> _Worker:
    return _Worker(job)


@dataclass(frozen=True)
class _Rows:
    """Rows of a block, as the model gets them.

    Attributes:
        inputs: of the model; zero for rows with an error.
        several: whether the picture of a row shows several digits, bool `[rows]`.
        errors: why a row has no input, by its index in the block.
    """

    inputs: Array
    several: Array
    errors: dict[int, str]


class _Worker:
    def __init__(self, job: Job) -> None:
        self._job = job
        self._model = load(job)
        self._max_pixels = Settings().max_pixels
        self._sources, _ = fsspec.core.url_to_fs(job.input)

    def score(self, block: Block) -> int:
        rows = self._rows(block)
        outputs = self._outputs(rows.inputs)
        write(self._table(block, rows, outputs), self._job.part(block.number))
        return len(block)

    def _rows(self, block: Block) -> _Rows:
        if isinstance(block.rows, np.ndarray):
            return _Rows(block.rows, np.zeros(len(block), bool), dict(block.errors))
        (spec,) = self._model.inputs.values()
        rows = _Rows(np.zeros((len(block), *spec.shape[1:]), spec.dtype), np.zeros(len(block), bool), {})
        for index in range(len(block)):
            try:
                picture = self._picture(block, index)
            except (ServingError, OSError) as error:
                rows.errors[index] = str(error) or type(error).__name__
            else:
                rows.inputs[index], rows.several[index] = picture.input, picture.shows_several
        return rows

    def _picture(self, block: Block, index: int) -> Reading:
        content = self._sources.cat_file(block.names[index]) if block.names else block.rows[index]
        if content is None:
            raise OSError("the row has no image")
        return read(content, mode=self._model.manifest.preprocessing, max_pixels=self._max_pixels)

    def _outputs(self, inputs: Array) -> dict[str, Array]:
        (name,), wanted = self._model.inputs, list(self._model.outputs)
        batches = [
            self._model.run({name: inputs[first : first + BATCH_ROWS]}, wanted)
            for first in range(0, len(inputs), BATCH_ROWS)
        ]
        return {output: np.concatenate([batch[output] for batch in batches]) for output in wanted}

    def _table(self, block: Block, rows: _Rows, outputs: dict[str, Array]) -> pa.Table:
        manifest, count = self._model.manifest, len(block)
        bad = np.isin(np.arange(count), list(rows.errors))
        columns: dict[str, Any] = {"row": pa.array(np.arange(block.first, block.first + count))}
        if block.names:
            columns["file"] = pa.array([PurePosixPath(name).as_posix() for name in block.names])
        for name, values in outputs.items():
            if values.shape[1:] == (len(manifest.classes),) and len(manifest.classes) > 1:
                columns |= self._answers(values, rows.several, bad)
            columns[name] = _lists(values, bad)
        columns["error"] = pa.array([rows.errors.get(index) for index in range(count)], pa.string())
        for key, value in (("model", manifest.name), ("version", manifest.version), ("sha256", manifest.sha256)):
            columns[key] = pa.array([value] * count)
        return pa.table(columns)

    def _answers(self, probabilities: Array, several: Array, bad: Array) -> dict[str, Any]:
        """Return the columns that a classifier has besides its outputs."""
        manifest = self._model.manifest
        best, highest = probabilities.argmax(1), probabilities.max(1)
        classes = pa.array(manifest.classes)
        columns: dict[str, Any] = {
            "prediction": classes.take(pa.array(best, mask=bad)),
            "confidence": pa.array(highest, mask=bad),
        }
        if manifest.doubt:
            columns["uncertain"] = pa.array((highest < manifest.doubt.refusal_threshold) | several, mask=bad)
        return columns


def _lists(values: Array, bad: Array) -> pa.Array:
    """Return outputs as a column: numbers, or lists of them; null for rows without an input."""
    if values.ndim == 1:
        return pa.array(values, mask=bad)
    flat = np.ascontiguousarray(values).reshape(len(values), -1)
    offsets = pa.array(np.arange(len(values) + 1) * flat.shape[1], pa.int32())
    # Not lists of a fixed size: Arrow cannot read those back from Parquet where one of them is null.
    return pa.ListArray.from_arrays(offsets, pa.array(flat.reshape(-1)), mask=pa.array(bad))


def write(table: pa.Table, url: str) -> None:
    """Write a table as a Parquet file that is complete or absent: an object store has no parts of an object."""
    stream = pa.BufferOutputStream()
    pq.write_table(table, stream, compression="zstd")
    write_bytes(stream.getvalue().to_pybytes(), url)


def write_bytes(content: bytes, url: str) -> None:
    """Write a file that is complete or absent, whatever ends this process."""
    files, path = fsspec.core.url_to_fs(url)
    if "file" not in files.protocol:
        files.pipe_file(path, content)
        return
    temporary = Path(path).with_name(f".{Path(path).name}.tmp")
    temporary.write_bytes(content)
    temporary.replace(path)
