"""False alarms of the monitoring over simulated years of hourly looks, and looks until drift is found.

A random forest learns from a part of MNIST's training images. Of the others, some are the reference and the rest is the
traffic: what is undrifted comes from the same writers, in random order, as often as it is needed. The detectors and
their settings are those of params.yaml; images, statistics and outputs are computed once.

    python benchmarks/monitoring.py --mirror ../shared/datasets --seeds 20 --jobs 2
"""

import argparse
import gzip
import os
import platform
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
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
from mnistflow.monitoring.state import Question
from mnistflow.tasks.corruptions import IMAGE_CORRUPTIONS

TRAINED, REFERENCE = 10_000, 6_000
DRIFTS = ("rotation", "scale", "noise", "blur", "contrast", "stripes", "fog", "shift")
MOST_LOOKS = 168  # a week
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


@dataclass(frozen=True)
class Simulation:
    """What the runs of a simulation share; a run is a seed."""

    reference: Reference
    pool: Pool
    settings: MonitorConfig
    images: int

    def year(self, seed: int) -> list[Question]:
        """Return the alarms of a year."""
        generator = np.random.default_rng(seed)
        detectors: dict[Question, Detector] = {}
        looks = (self.pool.draw(generator, self.images) for _ in range(int(HOURS_A_YEAR)))
        return [alarm for sample in looks for alarm in look(self.reference, sample, detectors, self.settings)]

    def delay(self, seed: int) -> tuple[int, Sequence[Question]]:
        """Return the number of looks until an alarm, and what it was about."""
        generator = np.random.default_rng(seed)
        detectors: dict[Question, Detector] = {}
        for number in range(1, MOST_LOOKS + 1):
            if alarms := look(self.reference, self.pool.draw(generator, self.images), detectors, self.settings):
                return number, alarms
        return MOST_LOOKS + 1, ()


def report_year(simulation: Simulation, seeds: Sequence[int], workers: Executor) -> None:
    years = []
    for number, alarms in enumerate(workers.map(simulation.year, seeds), start=1):
        years.append(alarms)
        print(f"year {number}: {len(alarms)} false alarms {' '.join(alarms)}", flush=True)
    mean = sum(map(len, years)) / len(years)
    print(f"false alarms a year, {simulation.images} images a look, n = {len(years)}: {mean:.2f}")


def report_delay(name: str, simulation: Simulation, seeds: Sequence[int], workers: Executor) -> None:
    runs = list(workers.map(simulation.delay, seeds))
    median, most = int(np.median([delay for delay, _ in runs])), max(delay for delay, _ in runs)
    seen = sorted({alarm for _, alarms in runs for alarm in alarms})
    shown = [f"> {MOST_LOOKS}" if delay > MOST_LOOKS else str(delay) for delay in (median, most)]
    accuracy = simulation.pool.right.mean()
    print(f"| {name} | {accuracy:.1%} | {' | '.join(shown)} | {', '.join(seen) or 'none'} |", flush=True)


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
    parser.add_argument("--jobs", type=int, default=1, help="processes")
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

    part = rest[:6000]
    pools = {
        "MNIST's test split, other writers": Pool(
            read(folder / "t10k-images-idx3-ubyte.gz", 16, (28, 28)),
            read(folder / "t10k-labels-idx1-ubyte.gz", 8, ()),
            forest,
        ),
        **drifted(images[part], labels[part], forest),
    }
    undrifted = Pool(images[rest], labels[rest], forest)
    seeds = range(arguments.seeds)
    with ProcessPoolExecutor(arguments.jobs) as workers:
        print(
            "| drift | accuracy | looks until an alarm, median | most | seen by |\n| --- | ---: | ---: | ---: | --- |"
        )
        for name, pool in pools.items():
            report_delay(name, Simulation(reference, pool, settings, arguments.images), seeds, workers)
        report_year(Simulation(reference, undrifted, settings, arguments.images), seeds, workers)


if __name__ == "__main__":
    main()
