"""False alarms of the monitoring over simulated years of hourly looks, and looks until drift is found.

A small network learns from a part of MNIST's training images. Of the others, some are the reference, and the rest is
the traffic: what is undrifted comes from the same writers, drawn at random as often as it is needed. The detectors and
their settings are those of params.yaml. The looks of a year are computed together, from the place of each image among
the reference's; the first is compared with what `findings.examine` makes of it.

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
from sklearn.neural_network import MLPClassifier

from mnistflow import config
from mnistflow.arrays import Array
from mnistflow.monitoring import accuracy, detection, drift, findings, statistics
from mnistflow.monitoring.config import MonitorConfig
from mnistflow.monitoring.detection import Detector
from mnistflow.monitoring.drift import BOUND_FAILURE_PROBABILITY
from mnistflow.monitoring.findings import HOURS_A_YEAR, Sample
from mnistflow.monitoring.reference import Reference, rounded
from mnistflow.monitoring.state import CHECKS, Check
from mnistflow.tasks.corruptions import IMAGE_CORRUPTIONS

TRAINED, REFERENCE, UNDRIFTED, DRIFTED = 15_000, 6_000, 20_000, 2_000
DRIFTS = ("rotation", "scale", "noise", "blur", "contrast", "stripes", "fog", "shift")
MAX_LOOKS = 48
MIX_SHARES = (0.15, 0.2, 0.3)  # of one class
LABELLED = 10  # images of a look with feedback
LOOKS = int(HOURS_A_YEAR)
CHUNK = 2_000  # images at a time

Images = NDArray[np.uint8]
Floats = NDArray[np.float64]


def read(path: Path, offset: int, shape: tuple[int, ...]) -> Images:
    content = gzip.decompress(path.read_bytes())
    return np.frombuffer(content, np.uint8, offset=offset).reshape(-1, *shape)


class Pool:
    """Images with everything that a look derives from them."""

    def __init__(self, images: Images, labels: Images, network: MLPClassifier) -> None:
        parts = [images[start : start + CHUNK] for start in range(0, len(images), CHUNK)]
        self.inputs = np.concatenate([statistics.of_images(part) for part in parts])
        answers = [network.predict_proba(part.reshape(len(part), -1) / np.float32(255)) for part in parts]
        self.probabilities = np.concatenate(answers).astype(np.float32)
        self.right = self.probabilities.argmax(axis=1) == labels

    def sample(self, chosen: NDArray[np.int64]) -> Sample:
        return Sample(self.inputs[chosen], self.probabilities[chosen], self.right[chosen[:LABELLED]])


class Year:
    """E-values of all looks of a year on undrifted traffic."""

    def __init__(self, reference: Reference, pool: Pool, settings: MonitorConfig, chosen: NDArray[np.int64]) -> None:
        confidence, known_confidence = (part.probabilities.max(axis=1) for part in (pool, reference))
        classes = reference.probabilities.shape[1]
        predicted = pool.probabilities.argmax(axis=1)[chosen]
        mixes = np.stack([(predicted == one).sum(axis=1) for one in range(classes)], axis=1)
        tolerance = settings.tolerance
        answers = np.sort(rounded(reference.probabilities), axis=0)
        self.of: Mapping[Check, Floats] = {
            "inputs": _of_distances(reference.input_parts[0], pool.inputs, chosen, tolerance),
            "outputs": np.concatenate(
                [
                    _of_distances(answers, rounded(pool.probabilities), chosen, tolerance),
                    drift.e_values_of_shares(reference.class_counts, mixes, tolerance)[0],
                ],
                axis=1,
            ),
            "confidence": _of_means(confidence, known_confidence, chosen, settings),
            "accuracy": _of_means(pool.right, reference.right, chosen[:, :LABELLED], settings),
        }

    def alarms(self, settings: MonitorConfig) -> list[Check]:
        raised: list[Check] = []
        for check in CHECKS:
            detector = Detector.initial(self.of[check].shape[1])
            for e_values in self.of[check]:
                detector = detector.after(e_values, 1 / HOURS_A_YEAR)
                if detector.evidence * settings.false_alarms / len(CHECKS) >= 1:
                    raised.append(check)
                    detector = detector.restarted()
        return raised

    def first(self) -> dict[Check, Floats]:
        """Return the evidence of the first look, in years."""
        return {check: e_values[0] / HOURS_A_YEAR for check, e_values in self.of.items()}


def _of_distances(reference: Array, values: Array, chosen: NDArray[np.int64], tolerance: float) -> Floats:
    """Return the e-values of the distances to a reference, `[looks, columns]`.

    Args:
        reference: `[m, columns]`, in ascending order.
        values: of each image of the pool, `[pool, columns]`.
        chosen: images of each look, `[looks, n]`.
    """
    found = np.empty((len(chosen), reference.shape[1]))
    steps = np.arange(chosen.shape[1] + 1) / chosen.shape[1]
    for column in range(reference.shape[1]):
        ordered = np.argsort(values[:, column], kind="stable")
        ranks = np.empty(len(ordered), np.uint16)
        ranks[ordered] = np.arange(len(ordered))
        drawn = np.sort(ranks[chosen], axis=1)
        shares = [
            np.searchsorted(reference[:, column], values[ordered, column], side) / len(reference)
            for side in ("left", "right")
        ]
        below = (shares[0][drawn] - steps[:-1]).max(axis=1)
        found[:, column] = np.maximum(below, (steps[1:] - shares[1][drawn]).max(axis=1))
    return drift.e_values_of_distances(found, drift.reference_error(*reference.shape) + tolerance, chosen.shape[1])


def _of_means(values: Array, promised: Array, chosen: NDArray[np.int64], settings: MonitorConfig) -> Floats:
    floor = (
        accuracy.mean_lower_bound(np.asarray(promised, float), BOUND_FAILURE_PROBABILITY) - settings.max_accuracy_drop
    )
    lower = accuracy.alternative_means(floor)
    each = detection.e_values_of_lower_mean
    factors = np.stack([np.log(each(np.array([value]), floor, lower)) for value in (0.0, 1.0)])  # linear in between
    stakes = np.exp(factors)
    growth = np.log(stakes[0] + np.asarray(values, float)[:, None] * (stakes[1] - stakes[0]))
    return np.stack([np.exp(growth[:, one][chosen].sum(axis=1)) for one in range(len(lower))], axis=1)


def count_false_alarms(reference: Reference, pool: Pool, settings: MonitorConfig, seeds: int, images: int) -> None:
    years = []
    for seed in range(seeds):
        chosen = np.random.default_rng(seed).integers(len(pool.inputs), size=(LOOKS, images))
        year = Year(reference, pool, settings, chosen)
        if seed == 0:
            examined = findings.examine(reference, pool.sample(chosen[0]), {}, 1.0, settings)
            for check, expected in year.first().items():
                np.testing.assert_allclose(expected, examined.results[check].detector.components, rtol=1e-6)
        years.append(year.alarms(settings))
        print(f"year {seed + 1}: {len(years[-1])} false alarms {' '.join(years[-1])}", flush=True)
    print(f"{np.mean([len(alarms) for alarms in years]):.2f} false alarms a year, {images} images a look, n = {seeds}")


def report_delay(name: str, pool: Pool, reference: Reference, settings: MonitorConfig, seeds: int, images: int) -> None:
    needed: list[int] = []
    seen: set[Check] = set()
    for seed in range(seeds):
        needed.append(_delay(pool, reference, settings, np.random.default_rng(seed), images, seen))
    shown = [f"> {MAX_LOOKS}" if delay > MAX_LOOKS else str(delay) for delay in (int(np.median(needed)), max(needed))]
    print(
        f"| {name} | {pool.right.mean():.1%} | {' | '.join(shown)} | {', '.join(sorted(seen)) or 'none'} |", flush=True
    )


def _delay(
    pool: Pool,
    reference: Reference,
    settings: MonitorConfig,
    generator: np.random.Generator,
    images: int,
    seen: set[Check],
) -> int:
    """Return the number of looks until an alarm, whose checks are added to `seen`."""
    detectors: dict[Check, Detector] = {}
    for number in range(1, MAX_LOOKS + 1):
        sample = pool.sample(generator.integers(len(pool.inputs), size=images))
        found = findings.examine(reference, sample, detectors, 1.0, settings)
        if found.alarms:
            seen.update(found.alarms)
            return number
        detectors = {check: answer.detector for check, answer in found.results.items()}
    return MAX_LOOKS + 1


def drifted(images: Images, labels: Images, network: MLPClassifier) -> dict[str, Pool]:
    generator = np.random.default_rng(0)
    known = {corruption.name: corruption for corruption in IMAGE_CORRUPTIONS}
    pools = {
        f"{name}, {known[name].caption.format(step)}": Pool(known[name].apply(images, step, generator), labels, network)
        for name in DRIFTS
        for step in known[name].steps
    }
    for share in MIX_SHARES:
        ones, others = np.flatnonzero(labels == 1), np.flatnonzero(labels != 1)
        chosen = np.concatenate([others, generator.choice(ones, int(len(others) * share / (1 - share)))])
        pools[f"class 1 in {share:.0%}"] = Pool(images[chosen], labels[chosen], network)
    return pools


def parts(count: int, sizes: Sequence[int]) -> list[NDArray[np.int64]]:
    return np.split(np.random.default_rng(0).permutation(count), np.cumsum(sizes))[: len(sizes)]


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
    trained, referred, calm, other = parts(len(images), [TRAINED, REFERENCE, UNDRIFTED, DRIFTED])
    network = MLPClassifier((64,), batch_size=128, max_iter=6, random_state=0)
    network.fit(images[trained].reshape(TRAINED, -1) / np.float32(255), labels[trained])
    known = Pool(images[referred], labels[referred], network)
    classes = np.array([str(one) for one in range(10)])
    reference = Reference(known.inputs, known.probabilities, known.right, images[referred[:1]], classes)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores; accuracy {known.right.mean():.1%}")

    run = (reference, settings, arguments.seeds, arguments.images)
    count_false_alarms(reference, Pool(images[calm], labels[calm], network), *run[1:])
    print("| drift | accuracy | looks until an alarm, median | most | seen by |\n| --- | ---: | ---: | ---: | --- |")
    for name, pool in drifted(images[other], labels[other], network).items():
        report_delay(name, pool, *run)
    tested = [
        read(folder / f"t10k-{name}.gz", *form)
        for name, form in (("images-idx3-ubyte", (16, (28, 28))), ("labels-idx1-ubyte", (8, ())))
    ]
    report_delay("MNIST's test split, other writers", Pool(tested[0], tested[1], network), *run)


if __name__ == "__main__":
    main()
