"""Loss of the GAN: non-saturating with spectral normalization beside Wasserstein with a gradient penalty.

Both get the same processor time for each seed, and take turns. Prints, for each, the Fréchet distance to 2,000
validation images and the agreement with the class asked for, of the best epoch within that time. Epochs are short, so
that either may have its best at the end.

    python benchmarks/generation.py --mirror ../shared/datasets --seconds 300 --seeds 5
"""

import argparse
import dataclasses
import statistics
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from bare_keras import read
from orchestration import ROOT

from mnistflow import config, learners
from mnistflow.splits import Dataset, Split

HELD_OUT = 6_000  # of the training images
EPOCH = 12_000  # images of an epoch
WAYS: dict[str, dict[str, object]] = {
    "non-saturating, spectral normalization": {"model.gan.loss": "non_saturating"},
    "Wasserstein, gradient penalty, 1 step": {"model.gan.loss": "wasserstein"},
    "Wasserstein, gradient penalty, 5 steps": {"model.gan.loss": "wasserstein", "model.gan.discriminator_steps": 5},
}


class _TimeIsUpError(Exception):
    """Ends a training."""


@dataclass
class _Timed:
    """Scores of the epochs that end within some seconds of processor time."""

    seconds: float
    epochs: list[Mapping[str, float]] = field(default_factory=list)
    began: float = field(default_factory=time.process_time)

    def __call__(self, _epoch: int, metrics: Mapping[str, float]) -> None:
        if time.process_time() - self.began > self.seconds:
            raise _TimeIsUpError
        self.epochs.append(dict(metrics))

    @property
    def best(self) -> Mapping[str, float]:
        return min(self.epochs, key=lambda one: one["val_frechet_distance"])


def main() -> None:
    """Train each way with each seed, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mirror", type=Path, required=True, help="folder with MNIST's files in mnist/")
    parser.add_argument("--seconds", type=float, default=300, help="of processor time, for each training")
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    data = digits(arguments.mirror)
    found: dict[str, list[Mapping[str, float]]] = {way: [] for way in WAYS}
    for seed in range(arguments.seeds):
        for way, values in WAYS.items():
            timed = train(data, {**values, "train.seed": seed}, arguments.seconds)
            found[way].append(timed.best)
            score = timed.best["val_frechet_distance"]
            print(f"{way}, seed {seed}: {score:.2f} after {len(timed.epochs)} epochs", file=sys.stderr, flush=True)
    print("| loss | Fréchet distance, mean | each seed | agreement, mean |\n| --- | --- | --- | --- |")
    for way, scores in found.items():
        distances = [score["val_frechet_distance"] for score in scores]
        agreement = statistics.mean(score["val_agreement"] for score in scores)
        each = ", ".join(f"{distance:.2f}" for distance in distances)
        print(f"| {way} | {statistics.mean(distances):.2f} | {each} | {agreement:.1%} |")


def digits(mirror: Path) -> Dataset:
    """Return MNIST as data of a generator: the training images but those held out, which are validation images."""
    known, test = (Split(*read(mirror / "mnist", part)) for part in ("train", "t10k"))
    order = np.random.default_rng(0).permutation(len(known))
    train, validation = known.take(order[HELD_OUT:]), known.take(order[:HELD_OUT])
    return Dataset("mnist_generation", "generation", tuple("0123456789"), (28, 28), train, validation, test, {}, "")


def train(data: Dataset, values: Mapping[str, object], seconds: float) -> _Timed:
    """Train preset `gan` with other values for some seconds of processor time."""
    base = config.load(ROOT / "params.yaml")
    endless = {"train.epochs": 10_000, "train.patience": 10_000}
    settings = base.with_values({**base.preset("gan"), **endless, **values})
    family = settings.model.chosen
    learner = learners.for_family(family)
    learner.prepare(settings.train)
    rows = np.random.default_rng(1).permutation(len(data.train))[:EPOCH]
    few = dataclasses.replace(data, train=data.train.take(rows))
    timed = _Timed(seconds)
    try:
        learner.fit(few, family, settings.train, timed)
    except _TimeIsUpError:
        return timed
    raise AssertionError("ten thousand epochs were too few")


if __name__ == "__main__":
    main()
