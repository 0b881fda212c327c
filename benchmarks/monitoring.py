"""False alarms of the monitoring over simulated years of hourly looks, and looks until drift is found.

A random forest learns from a part of MNIST's training images. Of the others, some are the reference and the rest is the
traffic: what is undrifted comes from the same writers, in random order, as often as it is needed. The detectors and
their settings are those of params.yaml; images, statistics and outputs are computed once.

    python benchmarks/monitoring.py --mirror ../shared/datasets --seeds 20
"""

import argparse
import gzip
import os
import platform
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import RandomForestClassifier

from mnistflow import config
from mnistflow.monitoring import findings, statistics
from mnistflow.monitoring.config import MonitorConfig
from mnistflow.monitoring.detection import Detector
from mnistflow.monitoring.findings import HOURS_A_YEAR, Sample
from mnistflow.monitoring.reference import Reference
from mnistflow.monitoring.state import QUESTIONS, Question
from mnistflow.tasks.corruptions import IMAGE_CORRUPTIONS

TRAINED, REFERENCE = 10_000, 6_000
DRIFTS = ("rotation", "scale", "noise", "blur", "contrast", "stripes", "fog", "shift")
MOST_LOOKS = 200
MIX_SHARES = (0.15, 0.2, 0.3)  # of one class
LABELLED = 0.05  # share of the images with feedback

Images = NDArray[np.uint8]


def read(path: Path, offset: int, shape: tuple[int, ...]) -> Images:
    content = gzip.decompress(path.read_bytes())
    return np.frombuffer(content, np.uint8, offset=offset).reshape(-1, *shape)


class Pool:
    """Images with everything that a look derives from them."""

    def __init__(self, images: Images, labels: Images, forest: RandomForestClassifier) -> None:
        self.inputs = statistics.of_images(images)
        self.probabilities = forest.predict_proba(images.reshape(len(images), -1)).astype(np.float32)
        self.right = self.probabilities.argmax(axis=1) == labels

    def draw(self, generator: np.random.Generator, count: int, weights: NDArray[np.float64] | None = None) -> Sample:
        chosen = generator.choice(len(self.inputs), count, p=weights)
        labelled = chosen[generator.random(count) < LABELLED]
        return Sample(self.inputs[chosen], self.probabilities[chosen], self.right[labelled])


def look(
    reference: Reference, sample: Sample, detectors: dict[Question, Detector], settings: MonitorConfig
) -> Sequence[Question]:
    """Take a look an hour after the last one, update the detectors, and return the alarms."""
    found = findings.examine(reference, sample, detectors, 1.0, settings)
    detectors.update({question: answer.detector for question, answer in found.answers.items()})
    return list(found.alarms)


def false_alarms(reference: Reference, pool: Pool, settings: MonitorConfig, *, seeds: int, images: int) -> None:
    total = dict.fromkeys(QUESTIONS, 0)
    years = []
    for seed in range(seeds):
        generator = np.random.default_rng(seed)
        detectors: dict[Question, Detector] = {}
        count = 0
        for _ in range(int(HOURS_A_YEAR)):
            for question in look(reference, pool.draw(generator, images), detectors, settings):
                total[question] += 1
                count += 1
        years.append(count)
    print(f"false alarms a year, {images} images a look, {seeds} years: {np.mean(years):.2f}, most {max(years)}", total)


def delays(
    reference: Reference, pools: Mapping[str, Pool], settings: MonitorConfig, *, seeds: int, images: int
) -> None:
    for name, pool in pools.items():
        needed: list[int] = []
        questions: set[Question] = set()
        for seed in range(seeds):
            generator = np.random.default_rng(seed)
            detectors: dict[Question, Detector] = {}
            for number in range(1, MOST_LOOKS + 1):
                if alarms := look(reference, pool.draw(generator, images), detectors, settings):
                    needed.append(number)
                    questions.update(alarms)
                    break
            else:
                needed.append(MOST_LOOKS + 1)
        median = int(np.median(needed))
        shown = f"> {MOST_LOOKS}" if median > MOST_LOOKS else str(median)
        accuracy = pool.right.mean()
        print(f"| {name} | {accuracy:.1%} | {shown} | {max(needed)} | {', '.join(sorted(questions)) or 'none'} |")


def drifted(images: Images, labels: Images, forest: RandomForestClassifier) -> dict[str, Pool]:
    generator = np.random.default_rng(0)
    known = {corruption.name: corruption for corruption in IMAGE_CORRUPTIONS}
    pools = {
        f"{name}, {known[name].caption.format(step)}": Pool(known[name].apply(images, step, generator), labels, forest)
        for name in DRIFTS
        for step in known[name].steps
    }
    for share in MIX_SHARES:
        ones = np.flatnonzero(labels == 1)
        others = np.flatnonzero(labels != 1)
        count = int(len(others) * share / (1 - share))
        chosen = np.concatenate([others, generator.choice(ones, count)])
        pools[f"class 1 in {share:.0%}"] = Pool(images[chosen], labels[chosen], forest)
    return pools


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mirror", type=Path, default=Path("../shared/datasets"))
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--images", type=int, default=200, help="of a look")
    arguments = parser.parse_args()
    settings = config.load(arguments.params).monitor
    folder = arguments.mirror / "mnist"
    images = read(folder / "train-images-idx3-ubyte.gz", 16, (28, 28))
    labels = read(folder / "train-labels-idx1-ubyte.gz", 8, ())
    order = np.random.default_rng(0).permutation(len(images))
    trained, referred, rest = np.split(order, [TRAINED, TRAINED + REFERENCE])
    forest = RandomForestClassifier(100, n_jobs=1, random_state=0)
    forest.fit(images[trained].reshape(TRAINED, -1), labels[trained])
    known = Pool(images[referred], labels[referred], forest)
    classes = np.array([str(one) for one in range(10)])
    reference = Reference(known.inputs, known.probabilities, known.right, images[referred[:1]], classes)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores; accuracy {known.right.mean():.1%}")

    pool = Pool(images[rest], labels[rest], forest)
    false_alarms(reference, pool, settings, seeds=arguments.seeds, images=arguments.images)
    part = rest[:6000]
    pools = drifted(images[part], labels[part], forest)
    pools["MNIST's test split, other writers"] = Pool(
        read(folder / "t10k-images-idx3-ubyte.gz", 16, (28, 28)),
        read(folder / "t10k-labels-idx1-ubyte.gz", 8, ()),
        forest,
    )
    print("| drift | accuracy | looks until an alarm, median | most | seen by |\n| --- | ---: | ---: | ---: | --- |")
    delays(reference, pools, settings, seeds=arguments.seeds, images=arguments.images)


if __name__ == "__main__":
    main()
