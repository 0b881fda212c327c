"""Processor time of commands that only read, as ratios to `python -c "import mlflow"` timed beside each of them.

User and system time of the process and its children, n repeats, alternating, medians of the ratios; once with a new
store and once with one of many runs and versions. The store is made through MLflow, which then gets its rows in bulk.

    python benchmarks/commands.py --repeats 5 --image digit.png
"""

import argparse
import json
import os
import platform
import resource
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ("params.yaml", "prefect.yaml")
BASE = (sys.executable, "-c", "import mlflow")
COMMANDS = (("--help",), ("--version",), ("models",), ("presets",), ("status",), ("leaderboard",))
MODEL = {"task": "image_classification", "dataset": "mnist", "metrics": {"accuracy": 0.99}, "sha256": "0" * 64}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--runs", type=int, default=2000)
    parser.add_argument("--versions", type=int, default=300)
    parser.add_argument("--image", type=Path, help="also times `predict`, with the champion of this checkout")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        rows = {}
        for label, runs, versions in (("new store", 0, 0), ("large store", arguments.runs, arguments.versions)):
            folder = Path(temporary) / label
            make_checkout(folder, runs, versions)
            rows[label] = ratios([[*mnistflow(), *command] for command in COMMANDS], folder, arguments.repeats)
        print(f"{platform.processor() or platform.machine()}, n = {arguments.repeats}, ratio to `import mlflow`\n")
        print(f"| command | new store | {arguments.runs} runs, {arguments.versions} versions |\n| --- | ---: | ---: |")
        for command, small, large in zip(COMMANDS, *rows.values(), strict=True):
            print(f"| {' '.join(command)} | {small:.2f} | {large:.2f} |")
        if arguments.image:
            command = [*mnistflow(), "predict", str(arguments.image.resolve())]
            (ratio,) = ratios([command], ROOT, arguments.repeats)
            print(f"| predict IMAGE | {ratio:.2f} | |")


def mnistflow() -> list[str]:
    # -P: the package of this checkout, not a folder of that name below the current one.
    return [sys.executable, "-P", "-m", "flows"]


def ratios(commands: list[list[str]], folder: Path, repeats: int) -> list[float]:
    """Return, for each command, the median of its ratios to the import timed directly before it."""
    found: list[list[float]] = [[] for _ in commands]
    for _ in range(repeats):
        for values, command in zip(found, commands, strict=True):
            base = seconds(list(BASE), folder)
            values.append(seconds(command, folder) / base)
    return [statistics.median(values) for values in found]


def seconds(command: list[str], folder: Path) -> float:
    """Return the processor time of a command and its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT / "src"), str(ROOT)])}
    subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def make_checkout(folder: Path, runs: int, versions: int) -> None:
    """Make a folder with the configuration and a store in which every run is evaluated."""
    from mlflow import MlflowClient

    folder.mkdir()
    for name in SOURCES:
        shutil.copyfile(ROOT / name, folder / name)
    (folder / "var/mlflow").mkdir(parents=True)
    database = folder / "var/mlflow/mlflow.db"
    client = MlflowClient(f"sqlite:///{database}")
    experiment = int(client.create_experiment("mnist"))
    if not runs:
        return
    client.create_registered_model("mnist-classifier")
    with sqlite3.connect(database) as store:
        for number in range(runs):
            run = f"{number:032x}"
            store.execute(
                "insert into runs (run_uuid, name, status, start_time, end_time, lifecycle_stage, experiment_id) "
                "values (?, ?, 'FINISHED', ?, ?, 'active', ?)",
                (run, f"run {number}", number, number, experiment),
            )
            store.execute("insert into tags values ('mnistflow.kind', 'retrain', ?)", (run,))
            store.executemany("insert into params values (?, '1', ?)", [(f"model.p{i}", run) for i in range(60)])
            metrics = {"test_accuracy": 0.9 + number % 997 / 1e4, "test_loss": 0.1, "parameters": 1e5, "errors": 9.0}
            metrics |= {f"m{i}": 0.5 for i in range(40)}
            store.executemany(
                "insert into latest_metrics (key, value, timestamp, step, is_nan, run_uuid) values (?, ?, 0, 0, 0, ?)",
                [(key, value, run) for key, value in metrics.items()],
            )
        for number in range(1, versions + 1):
            store.execute(
                "insert into model_versions (name, version, creation_time, current_stage, run_id, status, workspace) "
                "values ('mnist-classifier', ?, 0, 'None', ?, 'READY', 'default')",
                (number, f"{number:032x}"),
            )
            store.execute(
                "insert into model_version_tags (key, value, name, version, workspace) "
                "values ('mnistflow.model', ?, 'mnist-classifier', ?, 'default')",
                (json.dumps(MODEL), number),
            )
    store.close()
    client.set_registered_model_alias("mnist-classifier", "champion", str(versions))


if __name__ == "__main__":
    main()
