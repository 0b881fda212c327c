"""Command `mnistflow score` (`python -m serving.scoring`): applies a version to all rows of an input."""

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType

from serving.engine.repository import ModelRepository, require_champion
from serving.errors import CommandError, ServingError
from serving.process import cores

INTERRUPTED = 130


def main() -> None:
    """Score, and print what was written; exits with 1 and one line when that fails, with 130 after a signal."""
    parser = argparse.ArgumentParser(prog="mnistflow score")
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--version", type=int, help="instead of the champion")
    parser.add_argument("--block", type=int, required=True, help="rows per block")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0 for one per core")
    parser.add_argument(
        "--scheduler", metavar="ADDRESS", help="address of a Dask scheduler, instead of local processes"
    )
    parser.add_argument("input")
    parser.add_argument("output")
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        _score(arguments)
    except ServingError as error:
        sys.exit(f"error: {error}")
    except KeyboardInterrupt:
        sys.stderr.write("interrupted: the same command resumes where this one stopped\n")
        sys.exit(INTERRUPTED)
    # A thread of Arrow that releases a Python object while the interpreter is finalized would abort the process.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _score(arguments: argparse.Namespace) -> None:
    try:
        from serving.scoring import job, pools, sources, worker
    except ModuleNotFoundError as error:
        raise CommandError(f"scoring needs {error.name}: pip install pyarrow fsspec.") from error
    version = arguments.version or require_champion(ModelRepository(arguments.repository), arguments.model)
    read, written = _absolute(arguments.input), _absolute(arguments.output)
    chosen = worker.Job(arguments.repository.absolute(), arguments.model, version, read, written)
    model = worker.load(chosen)
    if len(model.inputs) != 1:
        raise CommandError(
            f"{model.name} has several inputs, but scoring needs a model with one. Send requests to a server: /v2."
        )
    (spec,) = model.inputs.values()
    source = sources.open_source(read, spec, written)
    if arguments.scheduler:
        workers = pools.dask_cluster(arguments.scheduler)
    else:
        workers = pools.processes(arguments.workers or cores.usable())
    summary = job.run(chosen, source, model.manifest, arguments.block, workers)
    sys.stdout.write(
        f"{_count(summary.rows, 'row')} in {_count(summary.files, 'file')} in {arguments.output}, read back: "
        f"{arguments.model} version {version}, sha256 {model.manifest.sha256[:12]}\n"
    )
    if summary.bad:
        have = "has" if summary.bad == 1 else "have"
        sys.stderr.write(f"{_count(summary.bad, 'row')} {have} no prediction; the column `error` states why\n")
        sys.stderr.writelines(f"  {line}\n" for line in summary.named)


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def _absolute(place: str) -> str:
    """Return a URL unchanged, and a path as one that means the same in every process."""
    return place if "://" in place else str(Path(place).absolute())


def _interrupt(_: int, __: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
