"""Which backend trains fastest: TensorFlow, JAX and PyTorch side by side, as far as they are installed.

Each trains the same networks with `SupervisedFitting` on 6,000 images of MNIST, with the same order of batches, in a
process of its own; the backends take turns. The first epoch holds tracing and compilation; the speed is that of
the epochs behind it, with validation.

    python benchmarks/backends.py --repeats 3
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import numpy as np

from mnistflow import config, environment, tasks
from mnistflow.data.sources import idx
from mnistflow.learners.fitting import supervised
from mnistflow.models.networks.network import Network
from mnistflow.runtime import backend

ROOT = Path(__file__).parents[1]
BACKENDS = get_args(backend.Backend)
NETWORKS = {
    "mlp": {"model.family": "mlp"},
    "cnn_128": {"model.family": "cnn", "preset": "cnn_128"},
}
IMAGES, VALIDATION, EPOCHS = 6000, 1000, 3


def train(name: backend.Backend, network: str, precision: str, folder: Path) -> dict[str, float]:
    """Train in this process; return seconds of the first epoch, images a second behind it, and the last accuracy."""
    settings = config.load(ROOT / "params.yaml")
    values = dict(NETWORKS[network])
    if preset := values.pop("preset", None):
        values = {**settings.preset(preset), **values}
    settings = settings.with_values(
        {
            **values,
            "train.backend": name,
            "train.epochs": EPOCHS,
            "train.patience": EPOCHS,
            "train.augment": {},
            "train.precision": precision,
        }
    )
    backend.use(name)
    backend.load_tensorflow(settings.train.threads)
    official = idx.read_splits(folder, ".gz").train
    order = np.random.default_rng(0).permutation(len(official))
    task = tasks.get("image_classification")
    ends = [time.perf_counter()]
    assert isinstance(settings.model.chosen, Network)
    training = supervised.SupervisedFitting(
        task,
        task.signature((28, 28), tuple("0123456789")),
        settings.model.chosen,
        settings.train,
        train=official.take(order[:IMAGES]),
        validation=official.take(order[-VALIDATION:]),
    ).finish(lambda *_: ends.append(time.perf_counter()))
    speed = IMAGES * (EPOCHS - 1) / (ends[-1] - ends[1])
    return {"first": ends[1] - ends[0], "speed": speed, "accuracy": training.history["val_accuracy"][-1]}


def in_a_process(*arguments: str) -> dict[str, float]:
    """Return what this script prints for one training."""
    command = [sys.executable, "-W", "ignore", __file__, "--one", *arguments]
    settings = {**os.environ, "OMP_WAIT_POLICY": environment.DEFAULTS["OMP_WAIT_POLICY"]}
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--precision", choices=["float32", "auto"], default="float32")
    parser.add_argument("--data", type=Path, default=ROOT / "var/downloads/mnist", help="folder of IDX files")
    parser.add_argument("--one", nargs=2, metavar=("BACKEND", "NETWORK"), help="only this, in this process")
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(train(arguments.one[0], arguments.one[1], arguments.precision, arguments.data)))
        return
    if not arguments.data.is_dir():
        sys.exit(f"{arguments.data} is missing. Run `mnistflow fetch`, or name a folder of IDX files with --data.")
    there = [name for name in BACKENDS if find_spec(name)]
    print(
        f"{platform.machine()}, {arguments.precision}, n = {arguments.repeats}, medians; installed: {', '.join(there)}"
    )
    print(f"{'network':10}{'backend':12}{'first epoch s':>15}{'images/s':>10}{'accuracy':>10}")
    for network in NETWORKS:
        found: dict[str, list[dict[str, float]]] = {name: [] for name in there}
        for _ in range(arguments.repeats):
            for name, results in found.items():
                options = "--precision", arguments.precision, "--data", str(arguments.data)
                results.append(in_a_process(name, network, *options))
        for name, results in found.items():
            first, speed, accuracy = (
                statistics.median(result[key] for result in results) for key in ("first", "speed", "accuracy")
            )
            print(f"{network:10}{name:12}{first:15.1f}{speed:10,.0f}{accuracy:10.2%}", flush=True)


if __name__ == "__main__":
    main()
