"""Feedback with wrong labels: accuracy on the test split with and without those labels that raise suspicion.

A part of MNIST's training images is what users report, with a share of wrong labels: each is the class after the right
one, as if on purpose. Prints a row of a Markdown table for each way to use it.

    python benchmarks/poisoned_feedback.py --mirror ../shared/datasets --official 20000 --reported 20000 --wrong 0.2
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from bare_keras import read

from mnistflow import config, learners
from mnistflow.arrays import Array
from mnistflow.data import catalog
from mnistflow.data.feedback import selection
from mnistflow.data.feedback.reports import Report
from mnistflow.splits import Dataset, OfficialSplits, Split

ROOT = Path(__file__).parents[1]
VALIDATION = 5_000


def main() -> None:
    """Train once for each way and seed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mirror", type=Path, required=True, help="folder with MNIST's files in mnist/")
    parser.add_argument("--preset", help="instead of the defaults of params.yaml")
    parser.add_argument("--official", type=int, default=20_000)
    parser.add_argument("--reported", type=int, default=20_000)
    parser.add_argument("--wrong", type=float, default=0.2)
    parser.add_argument("--seeds", type=int, default=1)
    options = parser.parse_args()
    train, test = (Split(*read(options.mirror / "mnist", name)) for name in ("train", "t10k"))
    order = np.random.default_rng(0).permutation(len(train))
    official, reported, validation = (
        train.take(rows) for rows in np.split(order, np.cumsum([options.official, options.reported, VALIDATION]))[:3]
    )
    is_wrong = np.random.default_rng(1).random(len(reported)) < options.wrong
    poisoned = np.where(is_wrong, (reported.targets + 1) % 10, reported.targets)
    began = time.process_time()
    kept = unsuspicious(reported.inputs, poisoned, OfficialSplits(official, test))
    sys.stderr.write(
        f"held back: {np.mean(~kept[is_wrong]):.1%} of the wrong labels, {np.mean(~kept[~is_wrong]):.1%} of the right, "
        f"in {time.process_time() - began:.0f} s of processor time\n"
    )
    ways: dict[str, Split] = {
        "no feedback": reported.take(np.arange(0)),
        "right labels": reported,
        "without the wrong ones": reported.take(np.flatnonzero(~is_wrong)),
        f"{options.wrong:.0%} wrong, all used": Split(reported.inputs, poisoned),
        f"{options.wrong:.0%} wrong, unsuspicious": Split(reported.inputs[kept], poisoned[kept]),
    }
    sys.stdout.write("| feedback | examples | accuracy |\n| --- | --- | --- |\n")
    for way, feedback in ways.items():
        joined = Split(
            np.concatenate([official.inputs, feedback.inputs]), np.concatenate([official.targets, feedback.targets])
        )
        scores = [accuracy(joined, validation, test, options.preset, seed) for seed in range(options.seeds)]
        sys.stdout.write(f"| {way} | {len(feedback):,} | {np.mean(scores):.2%} |\n")
        sys.stdout.flush()


def unsuspicious(images: Array, labels: Array, official: OfficialSplits) -> Array:
    """Return which reports are used by default, bool `[n]`."""
    entry = catalog.get("mnist")
    reports = [
        Report(str(row), 0, float(row), image, "", entry.classes[label], "", None)
        for row, (image, label) in enumerate(zip(images, labels, strict=True))
    ]
    settings = config.load(ROOT / "params.yaml").prepare.model_copy(update={"feedback_per_source": None})
    used = {report.key for report in selection.select(reports, entry, official, settings).used}
    return np.array([report.key in used for report in reports])


def accuracy(train: Split, validation: Split, test: Split, preset: str | None, seed: int) -> float:
    """Train a model, and return its accuracy on the test split."""
    base = config.load(ROOT / "params.yaml")
    learning = base.with_values({**(base.preset(preset) if preset else {}), "train.seed": seed}).learning
    data = Dataset("mnist", "image_classification", tuple("0123456789"), (28, 28), train, validation, test, {}, "")
    learner = learners.for_family(learning.model.chosen)
    learner.prepare(learning.train)
    model = learner.fit(data, learning.model.chosen, learning.train, lambda *_: None).model
    return float((learner.predict(model, test.inputs).argmax(axis=1) == test.targets).mean())


if __name__ == "__main__":
    main()
