"""How images of real handwriting are read in spite of one fault of sheet, pen, light or camera, or of two.

The digits are test images of MNIST and of scikit-learn's digits, drawn anew at high resolution, and pen strokes; at the
end, printed digits of matplotlib's fonts. The model is the champion of a model repository, and the images go through
the server's preprocessing. Instead, `--picture` draws a hundred of the images with what was read, and `--speed`
measures the preprocessing.

    MNISTFLOW_MIRRORS=../shared/datasets python benchmarks/serving/hard_images.py --repository var/models
"""

import argparse
import io
import itertools
import random
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/support"))
import image_faults
import serving_kit as kit
import strokes
import unusual_images

from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.errors import InvalidRequestError
from serving.images.preprocessing import to_model_input

ROOT = Path(__file__).resolve().parents[2]
BATCH = 100
FONTS = ("DejaVuSans", "DejaVuSerif-Bold", "STIXGeneral", "STIXGeneralItalic", "cmr10", "cmb10", "cmss10", "cmtt10")
# Of a tile of the picture: side of an image, and height of the line below it.
TILE, CAPTION = 72, 13
COLUMNS, ROWS = 10, 10
# Of the images that are timed: size and format, and deviation of the noise of each pixel.
TIMED = {"PNG": (128, 128), "JPEG": (4000, 3000)}
TIMED_NOISE = (0, 8)

Digit = tuple[image_faults.Floats, int]
Faults = Sequence[tuple[str, int]]


def handwriting(count: int) -> list[Digit]:
    """Return digits with their labels: `count` of each data set, and all pen strokes."""
    digits: list[Digit] = []
    for images, labels in filter(None, (kit.mnist("t10k", 10_000), kit.digits())):
        for index in np.random.default_rng(0).permutation(len(images))[:count]:
            digits.append((image_faults.from_outline(images[index]), int(labels[index])))
    for seed, (digit, shape) in enumerate(strokes.every_shape()):
        digits.append((strokes.ink(strokes.Hand(size=0.6).write(shape, seed), image_faults.SIDE, 0.05), int(digit)))
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

    def read(self, files: Sequence[bytes]) -> list[int]:
        """Return the digits on image files."""
        inputs = [self.prepare(file) for file in files]
        (name,), (output, *_) = self._model.inputs, self._model.outputs
        batches = [np.stack(inputs[first : first + BATCH]) for first in range(0, len(inputs), BATCH)]
        probabilities = [self._model.run({name: batch}, [output])[output] for batch in batches]
        return [int(label) for label in np.concatenate(probabilities).argmax(axis=1)]

    def accuracy(self, files: Sequence[bytes], digits: Sequence[Digit]) -> float:
        """Return the share of digits that are read right on their image files."""
        return float(np.mean([found == label for found, (_, label) in zip(self.read(files), digits, strict=True)]))

    def prepare(self, file: bytes) -> np.ndarray:
        """Return the input of the model for an image file; an empty one if there is no ink."""
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
    names = [name for name in image_faults.FAULTS if name != "none"]
    for _ in range(count):
        yield [(name, 2) for name in chosen.sample(names, 2)]


def printed() -> list[Digit]:
    """Return all digits of several fonts."""
    digits: list[Digit] = []
    for name, digit in itertools.product(FONTS, range(10)):
        font = ImageFont.truetype(Path(mpl.get_data_path()) / f"fonts/ttf/{name}.ttf", 200)
        sheet = Image.new("L", (image_faults.SIDE,) * 2)
        ImageDraw.Draw(sheet).text((image_faults.SIDE / 2,) * 2, str(digit), fill=255, font=font, anchor="mm")
        digits.append((np.asarray(sheet, float) / 255, digit))
    return digits


def files_of(digits: Sequence[Digit], name: str, strength: int, first_seed: int = 0) -> list[bytes]:
    """Return an image file of each digit with a fault, or of an unusual kind."""
    seeded = enumerate((ink for ink, _ in digits), first_seed)
    if name in unusual_images.KINDS:
        return [unusual_images.make(ink, name, strength, seed) for seed, ink in seeded]
    return [image_faults.make(ink, [(name, strength)], seed) for seed, ink in seeded]


def print_table(reader: Reader, digits: Sequence[Digit], names: Sequence[str]) -> None:
    """Print the accuracy by fault and kind, each at three strengths."""
    print(f"{len(digits)} digits, accuracy in % at strengths 1, 2, 3")
    single = []
    for name in names:
        row = [reader.accuracy(files_of(digits, name, each), digits) for each in image_faults.STRENGTHS]
        single += row
        print(f"{name:<18}" + "".join(f"{100 * value:>8.1f}" for value in row), flush=True)
    print(f"{'mean':<18}{100 * np.mean(single):>8.1f}")


def print_pairs(reader: Reader, digits: Sequence[Digit], count: int) -> None:
    """Print the accuracy of pairs of faults, the worst first."""
    shares = {}
    for faults in pairs(count):
        files = [image_faults.make(ink, faults, seed) for seed, (ink, _) in enumerate(digits)]
        shares[faults[0][0] + " and " + faults[1][0]] = reader.accuracy(files, digits)
    print(
        f"mean of {len(shares)} pairs at strength 2, {len(digits)} digits: {100 * np.mean(list(shares.values())):.1f}"
    )
    for name, value in sorted(shares.items(), key=lambda entry: entry[1])[:10]:
        print(f"  {name:<36}{100 * value:>6.1f}")


def print_printed(reader: Reader) -> None:
    """Print the accuracy of printed digits."""
    digits = printed()
    shares = [reader.accuracy(files_of(digits, kind, 2), digits) for kind in unusual_images.KINDS]
    print(f"printed digits of {len(FONTS)} fonts, of all unusual kinds at strength 2: {100 * np.mean(shares):.1f}")


def draw(reader: Reader, digits: Sequence[Digit]) -> Image.Image:
    """Return a picture of a hundred images: each beside the input of the model, with what was read below."""
    chosen = random.Random(1)
    sheet = Image.new("L", (COLUMNS * TILE * 2, ROWS * (TILE + CAPTION)), 255)
    drawing = ImageDraw.Draw(sheet)
    for number in range(COLUMNS * ROWS):
        ink, label = chosen.choice(digits)
        kind, strength = chosen.choice([*image_faults.FAULTS, *unusual_images.KINDS]), chosen.choice((2, 3))
        (file,) = files_of([(ink, label)], kind, strength, number)
        (found,) = reader.read([file])
        x, y = number % COLUMNS * TILE * 2, number // COLUMNS * (TILE + CAPTION)
        image = Image.open(io.BytesIO(file)).convert("RGBA")
        paper = Image.new("RGBA", image.size, "lightgrey")
        paper.alpha_composite(image)
        small = paper.convert("L")
        small.thumbnail((TILE, TILE))
        sheet.paste(small, (x, y))
        sheet.paste(Image.fromarray(reader.prepare(file)).resize((TILE - 2, TILE - 2)), (x + TILE, y))
        drawing.text((x + 2, y + TILE), f"{kind}: {found}" + ("" if found == label else f", not {label}"), fill=0)
    return sheet


def print_speed(ink: image_faults.Floats, repeats: int = 25) -> None:
    """Print the processor time of the preprocessing of an image, small and large, without noise and with it."""
    sheet = Image.open(io.BytesIO(image_faults.make(ink, [], 0)))
    for (kind, size), deviation in itertools.product(TIMED.items(), TIMED_NOISE):
        grains = np.random.default_rng(0).normal(0, deviation, (*size[::-1], 1))
        pixels = np.clip(np.asarray(sheet.resize(size)) + grains, 0, 255).astype(np.uint8)
        content = io.BytesIO()
        Image.fromarray(pixels).save(content, kind, quality=90)
        times = []
        for _ in range(repeats):
            start = time.process_time()
            to_model_input(content.getvalue())
            times.append(1000 * (time.process_time() - start))
        name = f"{kind} of {size[0]} x {size[1]}" + (", noisy" if deviation else "")
        print(f"{name:<28}{content.tell() / 1000:>8,.0f} kB{min(times):>8.2f} ms, median{np.median(times):>8.2f} ms")


def main() -> None:
    """Print the accuracy by fault and strength, and of pairs."""
    names = [*image_faults.FAULTS, *unusual_images.KINDS]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, default=ROOT / "var/models")
    parser.add_argument("--model", default="mnist-classifier")
    parser.add_argument("--digits", type=int, default=100, help="of each data set")
    parser.add_argument("--pairs", type=int, default=60)
    parser.add_argument("--only", nargs="+", choices=names, metavar="FAULT", help="faults and unusual kinds")
    parser.add_argument("--picture", type=Path, help="PNG file to draw")
    parser.add_argument("--speed", action="store_true", help="measure the preprocessing")
    arguments = parser.parse_args()
    if arguments.speed:
        print_speed(handwriting(1)[0][0])
        return
    reader, digits = Reader(arguments.repository, arguments.model), handwriting(arguments.digits)
    if arguments.picture:
        draw(reader, digits).quantize(16).save(arguments.picture, optimize=True)
        return
    print_table(reader, digits, arguments.only or names)
    if not arguments.only:
        print_pairs(reader, digits[:: max(1, len(digits) // 60)], arguments.pairs)
        print_printed(reader)
    print(f"{reader.milliseconds:.2f} ms of processor time for the preprocessing of an image, in the mean")


if __name__ == "__main__":
    main()
