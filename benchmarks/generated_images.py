"""Generated images beside few real ones: does a classifier gain from a generator?

A classifier is trained on 100 real images of each class, alone and with generated ones added: by a generator that has
seen the same few images only, and by one that has seen all training images, as if it came from elsewhere. All of them
are judged on the test split. Prints a row of a Markdown table for each.

    python benchmarks/generated_images.py --mirror ../shared/datasets --seeds 3
"""

import argparse
import statistics
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from bare_keras import read
from orchestration import ROOT

from mnistflow import config, learners
from mnistflow.arrays import Array
from mnistflow.config import Config
from mnistflow.learners.fitting.epoch import EpochPlan
from mnistflow.splits import Dataset, Split
from mnistflow.tasks.generation.generation import generator_inputs

HELD_OUT = 5_000  # of the training images, for the choice of the best epoch
CLASSES = tuple("0123456789")


def main() -> None:
    """Train two generators, and a classifier with each kind of images and each seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mirror", type=Path, required=True, help="folder with MNIST's files in mnist/")
    parser.add_argument("--real", type=int, default=100, help="real images of each class")
    parser.add_argument("--generated", type=int, nargs="+", default=[100, 1000], help="generated images of each class")
    parser.add_argument("--steps", type=int, default=5_000, help="of a generator's training")
    parser.add_argument("--seeds", type=int, default=3, help="of the classifiers")
    options = parser.parse_args()
    known, test = (Split(*read(options.mirror / "mnist", part)) for part in ("train", "t10k"))
    order = np.random.default_rng(0).permutation(len(known))
    train, validation = known.take(order[HELD_OUT:]), known.take(order[:HELD_OUT])
    few = train.take(np.sort(np.concatenate(list(first_rows(train.targets, options.real)))))
    print("| added to the real images of each class | images | accuracy, mean | each seed |\n| --- | --- | --- | --- |")
    row("nothing", few, validation, test, options.seeds)
    sources = {"a generator of the same images": few, "a generator of all training images": train}
    for source, seen in sources.items():
        made = generate(seen, validation, test, options.steps, max(options.generated))
        for count in options.generated:
            added = made.take(np.concatenate(list(first_rows(made.targets, count))))
            joined = Split(np.concatenate([few.inputs, added.inputs]), np.concatenate([few.targets, added.targets]))
            row(f"{count:,} by {source}", joined, validation, test, options.seeds)
    more = train.take(np.concatenate(list(first_rows(train.targets, options.real + max(options.generated)))))
    row(f"{max(options.generated):,} real ones", more, validation, test, options.seeds)


def first_rows(labels: Array, count: int) -> Iterator[Array]:
    """Yield the indices of the first images of each class."""
    for label in range(len(CLASSES)):
        yield np.flatnonzero(labels == label)[:count]


def generate(seen: Split, validation: Split, test: Split, steps: int, count: int) -> Split:
    """Train preset `gan` on images, and return as many generated ones of each class."""
    base = config.load(ROOT / "params.yaml")
    settings = base.with_values(base.preset("gan"))
    epochs = max(round(steps / EpochPlan.of(settings.train, len(seen)).steps), 1)
    values = {"train.epochs": epochs, "train.patience": epochs}
    data = Dataset("mnist_generation", "generation", CLASSES, (28, 28), seen, validation, test, {}, "")
    labels = np.repeat(np.arange(len(CLASSES)), count)
    images = fit_and_predict(settings.with_values(values), data, generator_inputs(labels, seed=1))
    return Split(images, labels)


def row(added: str, train: Split, validation: Split, test: Split, seeds: int) -> None:
    """Print the test accuracy of a classifier trained on images."""
    base = config.load(ROOT / "params.yaml")
    data = Dataset("mnist", "image_classification", CLASSES, (28, 28), train, validation, test, {}, "")
    scores = []
    for seed in range(seeds):
        outputs = fit_and_predict(base.with_values({"train.seed": seed}), data, test.inputs)
        scores.append(float((outputs.argmax(axis=1) == test.targets).mean()))
        print(f"{added}, seed {seed}: {scores[-1]:.2%}", file=sys.stderr, flush=True)
    each = ", ".join(f"{score:.2%}" for score in scores)
    print(f"| {added} | {len(train):,} | {statistics.mean(scores):.2%} | {each} |", flush=True)


def fit_and_predict(settings: Config, data: Dataset, inputs: Array) -> Array:
    """Train the settings' model on data, printing its progress, and return its outputs."""

    def show(epoch: int, metrics: Mapping[str, float]) -> None:
        print(f"  epoch {epoch}: val_loss {metrics['val_loss']:.4f}", file=sys.stderr, flush=True)

    family = settings.model.chosen
    learner = learners.for_family(family)
    learner.prepare(settings.train)
    model = learner.fit(data, family, settings.train, show).model
    return np.asarray(learner.predict(model, inputs))


if __name__ == "__main__":
    main()
