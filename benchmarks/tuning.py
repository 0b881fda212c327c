"""How a search scales: trials a minute with 1 and 2 workers, and what 1,000 trials cost their coordinator.

The trials are real ones of the default model on MNIST, with the settings of params.yaml but one epoch each. The
coordinator's cost is its processor time for trials that do nothing: drawing parameters, handing out, telling the study.

    python benchmarks/tuning.py --repeats 3
"""

import argparse
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mnistflow import config, environment
from mnistflow.data import fetch, prepare
from mnistflow.paths import Paths
from mnistflow.tuning import search, study, tune
from mnistflow.tuning.trial import TrialJob, TrialResult
from mnistflow.workers.base import Workers

ROOT = Path(__file__).resolve().parents[1]
TRIALS = 8
STUB_TRIALS = 1000


def stub(job: TrialJob) -> TrialResult:
    """Return a loss without training."""
    loss = abs(job.learning.train.learning_rate - 0.003)
    return TrialResult(job.trial.number, loss, {}, 1, 0.0, "")


@contextmanager
def dask(workers: int) -> Iterator[str]:
    """Start a scheduler and workers of one thread, and yield the address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    commands = [["dask_scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"]]
    commands += [["dask_worker", address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]] * workers
    variables = {**os.environ, "TF_NUM_INTRAOP_THREADS": "1"}
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", f"distributed.cli.{command[0]}", *command[1:]],
            stderr=subprocess.DEVNULL,
            env=variables,
            cwd=tempfile.gettempdir(),
        )
        for command in commands
    ]
    try:
        yield address
    finally:
        for process in processes:
            process.kill()
            process.wait()


def seconds_of_search(paths: Paths, settings: config.Config) -> float:
    """Return how long stage tune takes, with the start of its workers."""
    started = time.perf_counter()
    assert len(tune.tune(paths, settings.learning, settings.tune).trials) == settings.tune.trials
    return time.perf_counter() - started


def scaling(paths: Paths, settings: config.Config, repeats: int) -> None:
    """Print the trials a minute by workers, alternating between the settings."""
    with dask(2) as address:
        ways: dict[str, dict[str, object]] = {
            "1 process": {"tune.workers": 1},
            "2 processes": {"tune.workers": 2},
            "2 Dask workers": {"tune.scheduler": address},
        }
        rates: dict[str, list[float]] = {name: [] for name in ways}
        for seed in range(repeats):
            for name, values in ways.items():
                chosen = settings.with_values({**values, "tune.seed": seed})
                rates[name].append(TRIALS / seconds_of_search(paths, chosen) * 60)
                print(f"repeat {seed + 1}, {name}: {rates[name][-1]:.1f} trials a minute", flush=True)
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, n = {repeats}, medians of trials a minute")
    for name, measured in rates.items():
        print(f"{name:<16}{statistics.median(measured):7.1f}")


def coordinator(paths: Paths, settings: config.Config, folder: Path) -> None:
    """Print the processor time of this process for trials that do nothing."""
    print(f"\n{STUB_TRIALS:,} trials of a stub objective, 2 workers")
    with dask(2) as address:
        for name, scheduler in (("processes", None), ("Dask", address)):
            opened = study.open_study(name, str(folder / f"{name}.journal"), settings.tune)
            workers: Workers[TrialJob, TrialResult] = search.find_workers(scheduler, 2, 1)
            with workers:
                wall, processor = time.perf_counter(), time.process_time()
                search.run_trials(
                    opened,
                    study.distributions(settings.learning, settings.tune.space["cnn"]),
                    STUB_TRIALS,
                    workers,
                    make_job=lambda trial: TrialJob(
                        paths, settings.learning.with_values(study.parameters(trial)), None, trial, ""
                    ),
                    objective=stub,
                    on_trial=lambda _: None,
                )
                wall, processor = time.perf_counter() - wall, time.process_time() - processor
            print(
                f"{name:<10} {wall:6.1f} s, processor time {processor:6.1f} s, {processor:.1f} ms a trial", flush=True
            )


def main() -> None:
    """Run both parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--only", choices=["scaling", "coordinator"])
    arguments = parser.parse_args()
    for name in ("MLFLOW_TRACKING_URI", "DASK_SCHEDULER_ADDRESS"):
        os.environ.pop(name, None)
    with tempfile.TemporaryDirectory() as folder:
        paths = Paths(Path(folder), Path(folder))
        environment.configure(paths)
        params = config.load(ROOT / "params.yaml")
        network = {key: value for key, value in params.preset("best").items() if key.startswith("model.")}
        values = {"tune.trials": TRIALS, "tune.epochs": 1, "tune.train_limit": 6000, "tune.pruner": "none"}
        settings = params.with_values({**network, **values, "train.augment": {}})
        fetch.fetch(paths, settings.fetch)
        prepare.prepare(paths, settings.prepare)
        if arguments.only != "coordinator":
            scaling(paths, settings, arguments.repeats)
        if arguments.only != "scaling":
            coordinator(paths, settings, Path(folder))


if __name__ == "__main__":
    main()
