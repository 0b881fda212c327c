"""Job of batch scoring: its blocks on all workers, those that are finished left out, and what was written read back."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import AbstractContextManager, suppress
from dataclasses import asdict, dataclass
from typing import Any

import fsspec

from serving.errors import CommandError
from serving.manifest import Manifest
from serving.scoring import worker
from serving.scoring.pools import Pool
from serving.scoring.sources import Block, Source
from serving.scoring.worker import Job

PLAN = "_scoring.json"  # readers of Parquet pass over names that begin with an underscore
WAITING_BLOCKS = 1  # a worker, besides the one that it computes: memory stays the same however many rows there are
REPORT_SECONDS = 10.0
NAMED = 5


@dataclass(frozen=True)
class Plan:
    """What the files of an output belong to; all of them are of the same plan.

    Attributes:
        input: `Source.identity`.
        rows: of a block.
    """

    input: str
    model: str
    version: int
    sha256: str
    rows: int


@dataclass(frozen=True)
class Summary:
    """What was read back.

    Attributes:
        bad: rows without an answer.
        named: the first of them, with their errors.
    """

    rows: int
    files: int
    bad: int
    named: tuple[str, ...]


def run(job: Job, source: Source, manifest: Manifest, rows: int, workers: AbstractContextManager[Pool]) -> Summary:
    """Score all rows of a source, but those of blocks that an earlier process has finished, and read the result back.

    Args:
        manifest: of the version.
        rows: of a block.
        workers: compute the blocks.

    Raises:
        CommandError: the output belongs to another input or version, a worker was killed, or something cannot be read
            or written.
    """
    _claim(job, Plan(source.identity, manifest.name, manifest.version, manifest.sha256, rows))
    done = _finished(job)
    report = _Progress(source.count)
    try:
        with workers as pool:
            for count in _score(job, _missing(source.blocks(rows), done, report), pool):
                report.add(count)
    except OSError as error:
        raise CommandError(f"{job.output} cannot be written, or {job.input} not be read: {error}.") from error
    return _read_back(job, source.count)


def _claim(job: Job, plan: Plan) -> None:
    """Write the plan of a new output; an output that exists has to be of the same plan."""
    files, folder = fsspec.core.url_to_fs(job.output)
    path = f"{folder.rstrip('/')}/{PLAN}"
    if files.exists(path):
        begun = json.loads(files.cat_file(path))
        differing = [key for key, value in asdict(plan).items() if begun.get(key) != value]
        if differing:
            version = f"version {begun.get('version')}, blocks of {begun.get('rows')} rows"
            raise CommandError(
                f"{job.output} was begun with a different {', '.join(differing)} ({version}): "
                "use that, or name another output."
            )
        return
    if files.exists(folder) and files.ls(folder, detail=False):
        raise CommandError(f"{job.output} exists, but is not the output of a scoring. Name another output.")
    files.makedirs(folder, exist_ok=True)
    worker.write_bytes(json.dumps(asdict(plan), indent=2).encode(), f"{job.output.rstrip('/')}/{PLAN}")


def _finished(job: Job) -> set[str]:
    files, folder = fsspec.core.url_to_fs(job.output)
    files.invalidate_cache()
    return {name.rpartition("/")[2] for name in files.ls(folder, detail=False) if name.endswith(".parquet")}


def _missing(blocks: Iterator[Block], done: set[str], report: _Progress) -> Iterator[Block]:
    for block in blocks:
        if worker.part_name(block.number) in done:
            report.skip(len(block))
        else:
            yield block


def _score(job: Job, blocks: Iterator[Block], pool: Pool) -> Iterator[int]:
    """Yield the number of rows of each block when its file is written."""
    running: set[Future[int]] = set()
    for block in blocks:
        running.add(pool.executor.submit(worker.score, job, block))
        while len(running) >= pool.workers * (1 + WAITING_BLOCKS):
            finished, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in finished)
    while running:
        finished, running = wait(running, return_when=FIRST_COMPLETED)
        yield from (future.result() for future in finished)


class _Progress:
    """Lines about the progress on standard error, at most one every few seconds."""

    def __init__(self, total: int, write: Callable[[str], Any] = sys.stderr.write) -> None:
        self._total, self._write = total, write
        self._done = self._computed = 0
        self._started = self._reported = time.monotonic()

    def skip(self, rows: int) -> None:
        """Count rows of a block that was finished before."""
        self._done += rows

    def add(self, rows: int) -> None:
        """Count rows that were computed."""
        self._done += rows
        self._computed += rows
        now = time.monotonic()
        if now - self._reported >= REPORT_SECONDS or self._done == self._total:
            self._reported = now
            rate = self._computed / (now - self._started)
            with suppress(OSError):  # nobody reads it any more
                self._write(f"{self._done:,} of {self._total:,} rows, {rate:,.0f} a second\n")


def _read_back(job: Job, expected: int) -> Summary:
    """Count the rows of the written files, and those without an answer.

    Raises:
        CommandError: there are more or fewer than the source has.
    """
    import pyarrow.parquet as pq

    files, folder = fsspec.core.url_to_fs(job.output)
    rows = bad = 0
    named: list[str] = []
    parts = sorted(_finished(job))
    for part in parts:
        with files.open(f"{folder.rstrip('/')}/{part}", "rb") as stream:
            file = pq.ParquetFile(stream)
            rows += file.metadata.num_rows
            errors = file.read(["error"]).column("error")
            found = len(errors) - errors.null_count
            if found and len(named) < NAMED:
                named += _named(file)[: NAMED - len(named)]
            bad += found
    if rows != expected:
        raise CommandError(f"{job.output} has {rows:,} rows instead of {expected:,}: it was changed meanwhile.")
    return Summary(rows, len(parts), bad, tuple(named))


def _named(file: Any) -> list[str]:
    columns = [name for name in ("file", "row", "error") if name in file.schema_arrow.names]
    table = file.read(columns).to_pylist()
    return [f"{row.get('file', 'row ' + str(row['row']))}: {row['error']}" for row in table if row["error"]]
