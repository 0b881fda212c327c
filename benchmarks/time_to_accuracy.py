"""Seconds of training to 99.0 % of the test images: the preset `fast` beside the plain recipe.

The plain recipe: convolution 32, pooling, convolution 64, pooling, dense 128, softmax; Adam, batches of 128,
`model.fit` on arrays; judged after each epoch until 99.0 % are right. `fast` is judged once, when it is done, and by
the mean over its seeds. Both have oneDNN, see the same 54,000 images, are trained alternately, each in a fresh process,
and pay for their own tracing; judging is not counted. The plain recipe pays for tf.data's tuner too, as whoever calls
`fit` on arrays does (mnistflow/runtime/batches.py).

    python benchmarks/time_to_accuracy.py --seeds 30 --plain-seeds 3
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from orchestration import ROOT

from mnistflow.runtime.tensorflow_import import ONEDNN

GOAL = 0.99
MOST_EPOCHS = 15


def main() -> None:
    """Train both, alternately as long as both have seeds left, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=5, help="of `fast`")
    parser.add_argument("--plain-seeds", type=int, default=3, help="of the plain recipe")
    parser.add_argument("--folder", type=Path, default=ROOT / "var/downloads/mnist")
    parser.add_argument("--only", choices=sorted(RECIPES), help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        sys.exit(f"{arguments.folder} is missing. Run `make run` first, or name a folder with --folder.")
    if arguments.only:
        print(json.dumps(RECIPES[arguments.only](arguments.folder, arguments.seed)))
    else:
        compare(arguments.folder, {"plain": arguments.plain_seeds, "fast": arguments.seeds})


def compare(folder: Path, seeds: dict[str, int]) -> None:
    """Print the seconds and the accuracy of each training, then medians and means."""
    runs: dict[str, list[tuple[float, int, float]]] = {name: [] for name in RECIPES}
    for seed in range(max(seeds.values())):
        for name, done in runs.items():
            if seed < seeds[name]:
                done.append(train(name, seed, folder))
                spent, epochs, accuracy = done[-1]
                print(f"seed {seed}, {name}: {spent:.1f} s, {epochs} epochs, test accuracy {accuracy:.2%}", flush=True)
    print(f"\n{platform.machine()}, {os.cpu_count()} cores, medians of the seconds, means of the accuracies")
    plain = statistics.median(seconds for seconds, *_ in runs["plain"])
    for name, done in runs.items():
        median = statistics.median(seconds for seconds, *_ in done)
        accuracies = [accuracy for *_, accuracy in done]
        mean, least, most = statistics.mean(accuracies), min(accuracies), max(accuracies)
        print(
            f"{name:6} {median:6.1f} s ({median / plain:.3f} of the plain recipe), n = {len(done)}, "
            f"test accuracy {mean:.2%} ({least:.2%} to {most:.2%}){'' if mean >= GOAL else ', short of the goal'}"
        )


def train(name: str, seed: int, folder: Path) -> tuple[float, int, float]:
    """Return seconds, epochs and test accuracy of a training in a process of its own."""
    command = [sys.executable, __file__, "--only", name, "--seed", str(seed), "--folder", str(folder)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **ONEDNN}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    spent, epochs, accuracy = json.loads(done.stdout.splitlines()[-1])
    return spent, epochs, accuracy


def fit_plain(folder: Path, seed: int) -> tuple[float, int, float]:
    """Return seconds, epochs and test accuracy of the plain recipe."""
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
    seconds, accuracy, epochs = 0.0, 0.0, 0
    while accuracy < GOAL and epochs < MOST_EPOCHS:
        started = time.perf_counter()
        model.fit(images, labels, batch_size=128, verbose=0)
        seconds += time.perf_counter() - started
        epochs += 1
        _, accuracy = model.evaluate(test_images, test_labels, batch_size=1000, verbose=0)
    return seconds, epochs, accuracy


def fit_fast(folder: Path, seed: int) -> tuple[float, int, float]:
    """Return seconds, epochs and test accuracy of the preset."""
    from bare_keras import read

    from mnistflow import config, tasks
    from mnistflow.learners.fitting import loop
    from mnistflow.models.family import Network
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
    training = loop.fit(
        task,
        signature,
        settings.model.chosen,
        settings.train,
        train=train,
        validation=validation,
        on_epoch=lambda *_: None,
    )
    outputs = training.model.predict(read(folder, "t10k")[0], batch_size=1000, verbose=0)
    accuracy = float((outputs.argmax(axis=1) == read(folder, "t10k")[1]).mean())
    return training.seconds, len(training.history["loss"]), accuracy


RECIPES = {"plain": fit_plain, "fast": fit_fast}

if __name__ == "__main__":
    main()
