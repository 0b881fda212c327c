"""The defaults on small data sets of one's own, against the best of ten settings that a random search finds.

Each row takes some classes with some pictures of each, as a user would have them: scikit-learn's digits, MNIST, or
shapes drawn at random. A fifth becomes the test split of the gate, the rest is split into training and validation. The
search draws ten settings of epochs, steps, batch size, learning rate, schedule, augmentation and dropout, the same for
every seed, and takes the one with the lowest validation loss, as `mnistflow tune` does. Accuracies are of further
pictures of the same classes, 10,000 at most, which no training has seen.

Prints a row of a Markdown table, means over seeds, each with other classes and pictures: accuracy with the defaults, of
the setting that the search takes, and of the one that happens to be best on the further pictures; how many settings
were tried; and how many of the models trained with the defaults the gate lets through without a champion.

    python benchmarks/own_data.py digits-3x15 --seeds 3
    python benchmarks/own_data.py mnist-10x100 --first 6 --last 6    # one of the settings again, with further seeds
"""

import argparse
import logging
import math
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from bare_keras import read
from orchestration import ROOT
from PIL import Image, ImageDraw
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from mnistflow import config, learners, tasks
from mnistflow.config import Config
from mnistflow.data import catalog, prepare
from mnistflow.data.sources.digits import to_mnist_format
from mnistflow.evaluation.evaluate import Evaluation
from mnistflow.learners.learner import MONITORED
from mnistflow.registry.gate.verdict import decide
from mnistflow.splits import Dataset, OfficialSplits, Split

logger = logging.getLogger("own_data")

SETTINGS = 10
HELD_OUT = 10_000
TEST_FRACTION = 0.2
SHAPES = ("circle", "square", "triangle", "cross", "line")


@dataclass(frozen=True)
class Own:
    """A user's data, and pictures of the same classes that are held out."""

    data: Dataset
    held_out: Split


def digits(_: Path) -> Split:
    source = load_digits()
    return Split(np.stack([to_mnist_format(image) for image in source.images]), source.target.astype(np.int64))


def mnist(folder: Path) -> Split:
    parts = [read(folder, "train"), read(folder, "t10k")]
    images, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    return Split(images, labels.astype(np.int64))


def shapes(_: Path) -> Split:
    random = np.random.default_rng(0)
    drawn = [(_shape(kind, random), label) for label, kind in enumerate(SHAPES) for _ in range(700)]
    images, labels = zip(*drawn, strict=True)
    return Split(np.stack(images), np.array(labels))


def _shape(kind: str, random: np.random.Generator) -> Any:
    """Draw a shape of any size, place, thickness and angle: uint8 `[28, 28]`."""
    image = Image.new("L", (112, 112))
    pen, size = ImageDraw.Draw(image), random.uniform(20, 38)
    corners = {"square": 4, "triangle": 3, "circle": 40}.get(kind, 4)
    angles = random.uniform(0, 2 * np.pi) + np.arange(corners) * 2 * np.pi / corners
    points = [(56 + size * np.cos(angle), 56 + size * np.sin(angle)) for angle in angles]
    width = int(random.integers(6, 12))
    if kind in ("cross", "line"):
        for start in range(2 if kind == "cross" else 1):
            pen.line([points[start], points[start + 2]], fill=255, width=width)
    else:
        pen.line([*points, points[0]], fill=255, width=width, joint="curve")
    right, down = random.uniform(-14, 14, 2)
    moved = image.transform(image.size, Image.Transform.AFFINE, (1, 0, right, 0, 1, down))
    return np.asarray(moved.resize((28, 28), Image.Resampling.LANCZOS))


SOURCES: dict[str, Callable[[Path], Split]] = {"digits": digits, "mnist": mnist, "shapes": shapes}


def own_data(source: Split, classes: int, each: int, seed: int, settings: Config) -> Own:
    """Return `each` pictures of some classes as a prepared data set, and others of the same classes."""
    random = np.random.default_rng(seed)
    chosen = random.permutation(len(np.unique(source.targets)))[:classes]
    of_class = [random.permutation(np.flatnonzero(source.targets == one)) for one in chosen]
    labels = np.repeat(np.arange(classes), each)
    own = Split(source.inputs[np.concatenate([found[:each] for found in of_class])], labels)
    rest = [(index, label) for label, found in enumerate(of_class) for index in found[each:]]
    indices, targets = (np.array(column) for column in zip(*rest, strict=True))
    order = random.permutation(len(rest))[:HELD_OUT]
    train, test = train_test_split(np.arange(len(own)), test_size=TEST_FRACTION, stratify=labels, random_state=0)
    entry = catalog.described("own", tuple(map(str, chosen)))
    data = prepare.build(entry, settings.prepare, OfficialSplits(own.take(train), own.take(test)))
    return Own(data, Split(source.inputs[indices[order]], targets[order]))


def drawn_settings(random: np.random.Generator) -> dict[str, Any]:
    """Return settings of a random search; all of what the defaults scale is a number."""
    strength = float(random.choice([0.0, 0.5, 1.0, 2.0, 3.0]))
    return {
        "train.epochs": int(random.choice([3, 6, 12])),
        "train.min_steps": int(random.choice([0, 10, 30, 100])),
        "train.batch_size": int(random.choice([8, 16, 32, 64, 128])),
        "train.learning_rate": float(np.exp(random.uniform(np.log(0.001), np.log(0.03)))),
        "train.schedule": str(random.choice(["constant", "cosine", "one_cycle"])),
        "train.augment_gain": 1.0,
        "train.augment": {
            "shift": 0.05 * strength,
            "rotation": 7.0 * strength,
            "scale": 0.07 * strength,
            "shear": 0.07 * strength,
        },
        "model.cnn.dropout": float(random.uniform(0, 0.3)),
    }


def trained(settings: Config, own: Own) -> tuple[float, float, bool]:
    """Return validation loss, accuracy on the held-out pictures, and whether the gate would serve the model."""
    family, task = settings.model.chosen, tasks.get(own.data.task)
    learner = learners.for_family(family)
    training = learner.fit(own.data, family, settings.train, lambda *_: None)
    outputs = learner.predict(training.model, own.data.test.inputs)
    measured = task.measure(outputs, own.data.test.targets, own.data.classes)
    evaluation = Evaluation(measured.metrics, measured.by_class, measured.support, {}, 0, "", "")
    verdict = decide(evaluation, task.headline, None, settings.gate)
    accuracy = task.score(learner.predict(training.model, own.held_out.inputs), own.held_out.targets)
    return training.best[MONITORED], accuracy, verdict.promoted


def main() -> None:
    """Run one row, and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("row", help="source, classes and pictures of each, such as mnist-3x40")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first", type=int, default=1, help="number of the first setting of the search to try")
    parser.add_argument("--last", type=int, default=SETTINGS, help="number of the last one; 0: the defaults only")
    parser.add_argument("--minutes", type=float, default=math.inf, help="after which no further setting is tried")
    parser.add_argument("--folder", type=Path, default=ROOT / "var/downloads/mnist", help="with MNIST's files")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    base = config.load(ROOT / "params.yaml")
    name, _, size = arguments.row.partition("-")
    classes, each = map(int, size.split("x"))
    source = SOURCES[name](arguments.folder)
    learners.for_family(base.model.chosen).prepare(base.train)
    random = np.random.default_rng((0, classes, each))
    settings = list(enumerate((drawn_settings(random) for _ in range(arguments.last)), start=1))[arguments.first - 1 :]
    defaults, searched, luckiest, served, count = [], [], [], 0, 0
    deadline = time.monotonic() + 60 * arguments.minutes
    for seed in range(arguments.seeds):
        own = own_data(source, classes, each, seed, base)
        seeded = base.with_values({"train.seed": seed})
        loss, accuracy, promoted = trained(seeded, own)
        logger.info("seed %d: defaults: loss %.4f, accuracy %.4f, served %s", seed, loss, accuracy, promoted)
        defaults.append(accuracy)
        served += promoted
        tried = []
        for number, values in settings:
            if time.monotonic() < deadline:
                tried.append(trained(seeded.with_values(values), own)[:2])
                logger.info("seed %d: %d: loss %.4f, accuracy %.4f: %s", seed, number, *tried[-1], values)
        count += len(tried)
        if tried:
            searched.append(min(tried)[1])
            luckiest.append(max(accuracy for _, accuracy in tried))
    columns = (f"{statistics.mean(column):.2%}" if column else "" for column in (defaults, searched, luckiest))
    cells = (name, f"{classes} x {each}", *columns, str(count), f"{served} of {arguments.seeds}")
    sys.stdout.write(f"| {' | '.join(cells)} |\n")


if __name__ == "__main__":
    main()
