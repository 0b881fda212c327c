"""Batch scoring against onnxruntime alone: a million images with `mnistflow score`, and the same file in a bare loop.

The bare loop runs one process a core, with one thread each and batches of the same size, on images that it has in
memory; it reads and writes nothing. Scoring reads a compressed .npz, and writes Parquet. Processor time and the largest
resident memory are those of the command and its workers together, start-up included. On a machine that does other work,
processor time is the steadier figure.

    python benchmarks/scoring.py --repository var/models --rows 1000000
"""

import argparse
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests/support"))
import serving_kit as kit

from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.scoring.worker import BATCH_ROWS

ROOT = Path(__file__).resolve().parents[1]
SAMPLE_SECONDS = 0.5
BARE_SECONDS = 20.0


def bare(repository: Path, name: str, version: int) -> tuple[float, float]:
    """Return the images that one process computes with one thread, a second, and a second of processor time."""
    model = Model(ModelRepository(repository).read(name, version))
    images = kit.digits()[0][: BATCH_ROWS * 16]
    (given,), wanted = model.inputs, list(model.outputs)
    batches = [{given: images[first : first + BATCH_ROWS]} for first in range(0, len(images), BATCH_ROWS)]
    calls, started, used = 0, time.perf_counter(), time.process_time()
    while time.perf_counter() - started < BARE_SECONDS:
        model.run(batches[calls % len(batches)], wanted)
        calls += 1
    images_done = calls * BATCH_ROWS
    return images_done / (time.perf_counter() - started), images_done / (time.process_time() - used)


def bare_on_all_cores(repository: Path, name: str, version: int) -> tuple[float, float]:
    """Return the images a second of one such process a core, all at the same time, and a second of processor time."""
    cores = len(os.sched_getaffinity(0))
    with get_context("spawn").Pool(cores) as pool:
        measured = pool.starmap(bare, [(repository, name, version)] * cores, chunksize=1)
    return sum(rate for rate, _ in measured), sum(efficiency for _, efficiency in measured) / cores


def write_images(path: Path, rows: int) -> None:
    """Write scikit-learn's digits, over and over, in random order."""
    images, _ = kit.digits()
    chosen = np.random.default_rng(0).integers(0, len(images), rows)
    np.savez_compressed(path, images=images[chosen])


@contextmanager
def memory_of(process: subprocess.Popen[bytes]) -> Iterator[list[tuple[float, int]]]:
    """Sample the resident memory of a process and its children: seconds, bytes."""
    samples: list[tuple[float, int]] = []
    started = time.perf_counter()

    def sample() -> None:
        while process.poll() is None:
            total = 0
            try:
                family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
                total = sum(member.memory_info().rss for member in family)
            except psutil.NoSuchProcess:
                pass
            samples.append((time.perf_counter() - started, total))
            time.sleep(SAMPLE_SECONDS)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    yield samples
    thread.join()


def score(repository: Path, name: str, source: Path, output: Path) -> tuple[float, float, int, int]:
    """Return seconds, processor seconds, and the largest memory in bytes, of the first fifth and of the rest."""
    command = ["-m", "serving.scoring", "--repository", str(repository), "--model", name, "--block", "10000"]
    before, started = os.times(), time.perf_counter()
    process = subprocess.Popen([sys.executable, *command, str(source), str(output)], cwd=ROOT)
    with memory_of(process) as samples:
        process.wait()
    seconds, after = time.perf_counter() - started, os.times()
    if process.returncode:
        sys.exit("scoring failed")
    used = after.children_user + after.children_system - before.children_user - before.children_system
    early = max(size for at, size in samples if at <= seconds / 5)
    late = max(size for at, size in samples if at > seconds / 5)
    return seconds, used, early, late


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repository", type=Path, default=ROOT / "var/models")
    parser.add_argument("--rows", type=int, default=1_000_000)
    arguments = parser.parse_args()
    entries = ModelRepository(arguments.repository).scan()
    if not entries:
        sys.exit(f"{arguments.repository} has no champion. Run `make run`, or name another folder with --repository.")
    name, entry = next(iter(entries.items()))
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "images.npz"
        write_images(source, arguments.rows)
        before = bare_on_all_cores(arguments.repository, name, entry.champion)
        seconds, used, early, late = score(arguments.repository, name, source, Path(folder) / "out")
        after = bare_on_all_cores(arguments.repository, name, entry.champion)
    rates, efficiencies = zip(before, after, strict=True)
    alone, efficiency = sum(rates) / 2, sum(efficiencies) / 2
    rate, own = arguments.rows / seconds, arguments.rows / used
    print(f"{platform.machine()}, {cores} cores, {arguments.rows:,} images, {name} version {entry.champion}")
    print(f"onnxruntime alone, {cores} processes  {rates[0]:,.0f} images/s before, {rates[1]:,.0f} after")
    print(f"mnistflow score                {rate:,.0f} images/s ({rate / alone:.1%}), {seconds:.1f} s in all")
    print(f"a second of processor time     {efficiency:,.0f} images alone, {own:,.0f} scored ({own / efficiency:.1%})")
    print(f"largest resident memory        {early / 1e6:.0f} MB in the first fifth, {late / 1e6:.0f} MB after it")


if __name__ == "__main__":
    main()
