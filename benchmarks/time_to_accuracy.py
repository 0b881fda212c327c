"""Seconds of training to 99.0 % of the test images: the preset `fast` beside the plain recipe.

Processor seconds are printed too, of all threads together: they change less than seconds on a machine that is busy.

The plain recipe: convolution 32, pooling, convolution 64, pooling, dense 128, softmax; Adam, batches of 128,
`model.fit` on arrays; judged after each epoch until 99.0 % are right. `fast` is judged once, when it is done, and by
the mean over its seeds. Both have oneDNN, see the same 54,000 images, are trained alternately, each in a fresh process,
and pay for their own tracing; judging is not counted. The plain recipe pays for tf.data's tuner too, as whoever calls
`fit` on arrays does (mnistflow/runtime/batches.py).

    python benchmarks/time_to_accuracy.py --seeds 30 --plain-seeds 3
"""

import argparse
import dataclasses
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from orchestration import ROOT

from mnistflow.runtime.tensorflow_import import ONEDNN

GOAL = 0.99
MAX_EPOCHS = 15


@dataclass(frozen=True)
class Trained:
    """A training: its seconds, those of processors, its epochs, and its accuracy on the test images."""

    seconds: float
    processor_seconds: float
    epochs: int
    accuracy: float


def main() -> None:
    """Train both, alternately as long as both have seeds left, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="of `fast`")
    parser.add_argument("--plain-seeds", type=int, default=3, help="of the plain recipe")
    parser.add_argument("--first", type=int, default=0, help="first seed, to continue an earlier run")
    parser.add_argument("--folder", type=Path, default=ROOT / "var/downloads/mnist")
    parser.add_argument("--only", choices=sorted(RECIPES), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        sys.exit(f"{arguments.folder} is missing. Run `make run` first, or name a folder with --folder.")
    if arguments.only:
        print(json.dumps(dataclasses.asdict(RECIPES[arguments.only](arguments.folder, arguments.seed))))
    else:
        counts = {"plain": arguments.plain_seeds, "fast": arguments.seeds}
        compare(arguments.folder, {name: range(arguments.first, count) for name, count in counts.items()})


def compare(folder: Path, seeds: dict[str, range]) -> None:
    """Print the seconds and the accuracy of each training, then medians and means."""
    runs: dict[str, list[Trained]] = {name: [] for name in RECIPES}
    for seed in sorted(set().union(*seeds.values())):
        for name, done in runs.items():
            if seed in seeds[name]:
                done.append(train(name, seed, folder))
                print(f"seed {seed}, {name}: {described(done[-1])}", flush=True)
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, medians of the seconds, means of the accuracies")
    for name, done in runs.items():
        if not done:
            continue
        seconds, processor_seconds = medians(done)
        share = ""
        if runs["plain"]:
            plain, plain_processor = medians(runs["plain"])
            share = f", {seconds / plain:.3f} and {processor_seconds / plain_processor:.3f} of the plain recipe"
        accuracies = [one.accuracy for one in done]
        mean, least, most = statistics.mean(accuracies), min(accuracies), max(accuracies)
        print(
            f"{name:6} {seconds:6.1f} s, {processor_seconds:.1f} of the processor{share}, n = {len(done)}, "
            f"test accuracy {mean:.2%} ({least:.2%} to {most:.2%}){'' if mean >= GOAL else ', short of the goal'}"
        )


def described(done: Trained) -> str:
    """Return a training in a line."""
    return (
        f"{done.seconds:.1f} s, {done.processor_seconds:.1f} of the processor, {done.epochs} epochs, "
        f"test accuracy {done.accuracy:.2%}"
    )


def medians(runs: list[Trained]) -> tuple[float, float]:
    """Return the median seconds, and the median processor seconds."""
    return (
        statistics.median(one.seconds for one in runs),
        statistics.median(one.processor_seconds for one in runs),
    )


def train(name: str, seed: int, folder: Path) -> Trained:
    """Train in a process of its own."""
    command = [sys.executable, __file__, "--only", name, "--seed", str(seed), "--folder", str(folder)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **ONEDNN}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return Trained(**json.loads(done.stdout.splitlines()[-1]))


def fit_plain(folder: Path, seed: int) -> Trained:
    """Train the plain recipe."""
    import keras
    from bare_keras import read

    keras.utils.set_random_seed(seed)
    layers = keras.layers
    model = keras.Sequential(
        [
            layers.Input((28, 28, 1)),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
            layers.Dense(10, activation="softmax"),
        ]
    )
    model.compile("adam", "sparse_categorical_crossentropy", metrics=["accuracy"], jit_compile=False)
    images, labels = read(folder, "train")
    train = np.random.default_rng(0).permutation(len(images))[:54000]
    images, labels = images[train, ..., None].astype("float32") / 255, labels[train]
    test_images, test_labels = read(folder, "t10k")
    test_images = test_images[..., None].astype("float32") / 255
    seconds, processor_seconds, accuracy, epochs = 0.0, 0.0, 0.0, 0
    while accuracy < GOAL and epochs < MAX_EPOCHS:
        started, processor_started = time.perf_counter(), time.process_time()
        model.fit(images, labels, batch_size=128, verbose=0)
        seconds += time.perf_counter() - started
        processor_seconds += time.process_time() - processor_started
        epochs += 1
        _, accuracy = model.evaluate(test_images, test_labels, batch_size=1000, verbose=0)
    return Trained(seconds, processor_seconds, epochs, accuracy)


def fit_fast(folder: Path, seed: int) -> Trained:
    """Train the preset."""
    from bare_keras import read

    from mnistflow import config, tasks
    from mnistflow.learners.fitting import supervised
    from mnistflow.models.networks.network import Network
    from mnistflow.runtime import backend
    from mnistflow.splits import Split

    params = config.load(ROOT / "params.yaml")
    settings = params.with_values({**params.preset("fast"), "train.seed": seed})
    backend.load_tensorflow(settings.train.threads)
    official = Split(*read(folder, "train"))
    order = np.random.default_rng(0).permutation(len(official))
    task = tasks.get("image_classification")
    signature = task.signature((28, 28), tuple("0123456789"))
    train, validation = official.take(order[:54000]), official.take(order[54000:])
    assert isinstance(settings.model.chosen, Network)
    processor_started = time.process_time()
    training = supervised.SupervisedFitting(
        task,
        signature,
        settings.model.chosen,
        settings.train,
        train=train,
        validation=validation,
    ).finish(lambda *_: None)
    processor_seconds = time.process_time() - processor_started
    outputs = training.model.predict(read(folder, "t10k")[0], batch_size=1000, verbose=0)
    accuracy = float((outputs.argmax(axis=1) == read(folder, "t10k")[1]).mean())
    return Trained(training.seconds, processor_seconds, len(training.history["loss"]), accuracy)


RECIPES = {"plain": fit_plain, "fast": fit_fast}

if __name__ == "__main__":
    main()
