"""How numbers of two to eight digits are read: spaced, touching, of different size, and on two lines.

The digits are test images of MNIST, or scikit-learn's digits where no mirror has MNIST, drawn anew at high resolution,
and pen strokes. The model is the champion of a model repository, and the images go through the server's preprocessing.
Single digits come last: how many are taken for several, with and without faults of sheet, light and camera.

    MNISTFLOW_MIRRORS=../shared/datasets python benchmarks/serving/many_digits.py --repository var/models
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/support"))
import image_faults
import many_digits
import serving_kit as kit
import strokes

from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.errors import InvalidRequestError
from serving.images.numbers.number import choose_digits, read_number, text

ROOT = Path(__file__).resolve().parents[2]
MAX_PIXELS = 16_000_000
STROKE = 0.05

Written = tuple[image_faults.Floats, int]


class Reader:
    """The preprocessing, the champion and the choice of the digits, with the time of the first and last."""

    def __init__(self, repository: Path, name: str) -> None:
        folder = ModelRepository(repository)
        self._model = Model(folder.read(name, folder.scan()[name].champion))
        self._seconds = 0.0
        self._candidates = 0
        self._count = 0

    def read(self, file: bytes) -> str:
        """Return the number on an image; empty where it is refused."""
        start = time.process_time()
        try:
            candidates = read_number(file, max_pixels=MAX_PIXELS).candidates
        except InvalidRequestError:
            return ""
        self._seconds += time.process_time() - start
        self._count += 1
        self._candidates += len(candidates.inputs)
        (name,), (output, *_) = self._model.inputs, self._model.outputs
        probabilities = self._model.run({name: candidates.inputs}, [output])[output]
        (digits,) = choose_digits([candidates], probabilities)
        return text(digits, [str(probabilities[digit.row].argmax()) for digit in digits])

    def summary(self) -> str:
        """Return what an image takes in the mean."""
        milliseconds, candidates = 1000 * self._seconds / self._count, self._candidates / self._count
        return f"{milliseconds:.0f} ms of processor time and {candidates:.0f} inputs of the model for an image"


def of_datasets() -> list[Written]:
    """Return 2,000 digits of MNIST's test images, or scikit-learn's."""
    images, labels = kit.mnist("t10k", 2000) or kit.digits()
    return [(image_faults.from_outline(image), int(label)) for image, label in zip(images, labels, strict=True)]


def of_strokes() -> list[Written]:
    """Return all digits in all shapes, as drawn on the page."""
    hand = strokes.Hand(size=0.6, tremor=0.004)
    return [
        (strokes.ink(hand.write(shape, seed), image_faults.SIDE, STROKE), int(digit))
        for seed, (digit, shape) in enumerate(strokes.every_shape())
    ]


def read_numbers(reader: Reader, digits: Sequence[Written], kind: str, count: int) -> tuple[float, float]:
    """Return the share of numbers that are read right, and that of their digits."""
    random = np.random.default_rng(0)
    whole, each = [], []
    for seed in range(count):
        chosen = [digits[number] for number in random.integers(0, len(digits), random.integers(2, 9))]
        found = reader.read(many_digits.write([ink for ink, _ in chosen], kind, seed))
        expected = many_digits.text([label for _, label in chosen], kind)
        whole.append(found == expected)
        each.append(many_digits.agreement(found, expected))
    return float(np.mean(whole)), float(np.mean(each))


def single(reader: Reader, digits: Sequence[Written], fault: str) -> float:
    """Return the share of single digits with a fault of middle strength that are read as a single digit."""
    files = [image_faults.make(ink, [(fault, 2)], seed) for seed, (ink, _) in enumerate(digits)]
    return float(np.mean([len(reader.read(file)) == 1 for file in files]))


def main() -> None:
    """Print the accuracy by kind, and the share of single digits that stay single."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, default=ROOT / "var/models")
    parser.add_argument("--model", default="mnist-classifier")
    parser.add_argument("--numbers", type=int, default=100, help="of each kind")
    parser.add_argument("--digits", type=int, default=20, help="single ones, with each fault")
    arguments = parser.parse_args()
    reader = Reader(arguments.repository, arguments.model)
    sources = {"data set": of_datasets(), "pen strokes": of_strokes()}
    print(f"{arguments.numbers} numbers of each kind: right as a whole, and their digits, in %")
    for source, digits in sources.items():
        for kind in many_digits.KINDS:
            whole, each = read_numbers(reader, digits, kind, arguments.numbers)
            print(f"{source:<14}{kind:<10}{100 * whole:>8.1f}{100 * each:>8.1f}", flush=True)
    print(reader.summary())
    print(f"{arguments.digits} single digits with each fault: read as a single one, in %")
    stay = {fault: single(reader, sources["data set"][: arguments.digits], fault) for fault in image_faults.FAULTS}
    print(f"none {100 * stay['none']:.1f}, mean {100 * np.mean(list(stay.values())):.1f}; the lowest:")
    for fault, share in sorted(stay.items(), key=lambda entry: entry[1])[:8]:
        print(f"  {fault:<18}{100 * share:>6.1f}")


if __name__ == "__main__":
    main()
