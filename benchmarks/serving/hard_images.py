"""How images of real handwriting are read in spite of one fault of sheet, pen, light or camera, or of two.

The digits are test images of MNIST and of scikit-learn's digits, drawn anew at high resolution, and pen strokes. The
model is the champion of a model repository, and the images go through the server's preprocessing.

    MNISTFLOW_MIRRORS=../shared/datasets python benchmarks/serving/hard_images.py --repository var/models
"""

import argparse
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/support"))
import hard_images
import serving_kit as kit
import strokes

from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.errors import InvalidRequestError
from serving.images.preprocessing import to_model_input

ROOT = Path(__file__).resolve().parents[2]
BATCH = 100

Digit = tuple[hard_images.Floats, int]
Faults = Sequence[tuple[str, int]]


def handwriting(count: int) -> list[Digit]:
    """Return digits with their labels: `count` of each data set, and all pen strokes."""
    digits: list[Digit] = []
    for images, labels in filter(None, (kit.mnist("t10k", 10_000), kit.digits())):
        for index in np.random.default_rng(0).permutation(len(images))[:count]:
            digits.append((hard_images.from_outline(images[index]), int(labels[index])))
    for seed, (digit, shape) in enumerate(strokes.every_shape()):
        digits.append((strokes.ink(strokes.Hand(size=0.6).write(shape, seed), hard_images.SIDE, 0.05), int(digit)))
    return digits


class Reader:
    """The preprocessing and the champion, with the time of the preprocessing."""

    def __init__(self, repository: Path, name: str) -> None:
        folder = ModelRepository(repository)
        self._model = Model(folder.read(name, folder.scan()[name].champion))
        self._seconds = 0.0
        self._count = 0

    @property
    def milliseconds(self) -> float:
        """Mean processor time of the preprocessing of an image."""
        return 1000 * self._seconds / max(self._count, 1)

    def accuracy(self, digits: Sequence[Digit], faults: Faults) -> float:
        """Return the share of digits that are read right with these faults."""
        inputs = [self._prepared(hard_images.make(ink, faults, seed)) for seed, (ink, _) in enumerate(digits)]
        (name,), (output,) = self._model.inputs, self._model.outputs
        batches = [np.stack(inputs[first : first + BATCH]) for first in range(0, len(inputs), BATCH)]
        probabilities = np.concatenate([self._model.run({name: batch}, [output])[output] for batch in batches])
        return float(np.mean(probabilities.argmax(axis=1) == [label for _, label in digits]))

    def _prepared(self, file: bytes) -> np.ndarray:
        start = time.process_time()
        try:
            return to_model_input(file)
        except InvalidRequestError:  # whatever the model takes an empty field for
            return np.zeros((28, 28), np.uint8)
        finally:
            self._seconds += time.process_time() - start
            self._count += 1


def pairs(count: int) -> Iterator[Faults]:
    """Yield pairs of faults at middle strength."""
    chosen = random.Random(0)
    names = [name for name in hard_images.FAULTS if name != "none"]
    for _ in range(count):
        yield [(name, 2) for name in chosen.sample(names, 2)]


def main() -> None:
    """Print the accuracy by fault and strength, and of pairs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, default=ROOT / "var/models")
    parser.add_argument("--model", default="mnist-classifier")
    parser.add_argument("--digits", type=int, default=100, help="of each data set")
    parser.add_argument("--pairs", type=int, default=60)
    arguments = parser.parse_args()
    reader, digits = Reader(arguments.repository, arguments.model), handwriting(arguments.digits)
    print(f"{len(digits)} digits, accuracy in % at strengths 1, 2, 3")
    single = []
    for fault in hard_images.FAULTS:
        row = [reader.accuracy(digits, [(fault, strength)]) for strength in hard_images.STRENGTHS]
        single += row
        print(f"{fault:<18}" + "".join(f"{100 * value:>8.1f}" for value in row), flush=True)
    print(f"{'mean':<18}{100 * np.mean(single):>8.1f}")
    few = digits[:: max(1, len(digits) // 60)]
    double = {faults[0][0] + " and " + faults[1][0]: reader.accuracy(few, faults) for faults in pairs(arguments.pairs)}
    print(f"mean of {len(double)} pairs at strength 2, {len(few)} digits: {100 * np.mean(list(double.values())):.1f}")
    for name, value in sorted(double.items(), key=lambda entry: entry[1])[:10]:
        print(f"  {name:<36}{100 * value:>6.1f}")
    print(f"{reader.milliseconds:.2f} ms of processor time for the preprocessing of an image, in the mean")


if __name__ == "__main__":
    main()
