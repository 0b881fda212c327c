"""Fit the curves of `serving/images/numbers/scores.py`, which decide where a number is cut into digits.

Numbers are written from validation images, which the champion was not trained on, as `many_digits.py` writes them from
test images. Of all sequences of spans along a line, those whose spans are the digits that were written are made as
probable as possible, given the measures of all spans and the probabilities of the champion: the likelihood of a
conditional random field, maximized with L-BFGS. Takes about ten minutes, and prints the curves.

    mnistflow fetch && mnistflow prepare
    python benchmarks/serving/fit_numbers.py --repository var/models --images var/data/prepared/validation.npz
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.optimize import minimize

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/support"))
import hard_images
import many_digits

from serving.engine.model import Model
from serving.engine.repository import ModelRepository
from serving.images import ink, text_lines
from serving.images.decoding import decode
from serving.images.numbers import number, scores, segmentation, sequence, spans
from serving.images.numbers.seams import Seams
from serving.images.numbers.spans import Spans
from serving.images.preprocessing import find_handwriting

Array = npt.NDArray[Any]

ROOT = Path(__file__).resolve().parents[2]
MAX_PIXELS = 16_000_000
# How many numbers of each kind, and of how many digits: from the first up to the second, exclusive.
NUMBERS = (
    ("touching", 250, (2, 9)),
    ("touching sizes", 120, (2, 9)),
    ("spaced", 60, (2, 9)),
    ("sizes", 70, (2, 9)),
    ("spaced", 150, (1, 2)),
)
# A span is a digit if they share this part of their ink, of all ink of both; less if the model reads it right.
SAME = 0.87
SIMILAR = 0.72
# Less probable spans, by their shape, are not read.
PROBABLE = 1e-4
REGULARIZATION = 1e-4
SHAPES_ALONE = 0.25  # weight in the loss
STEPS = 100
CURVES = ("WIDTH", "HEIGHT", "GAP", "INK", "STROKES", "DIVIDED", "DOUBT")


@dataclass
class Example:
    """A line, its spans, and which of them are digits.

    Attributes:
        line, seams, spans: of an image of a number.
        shared: the part of all ink of a digit and a span that they share, `[digits, spans]`.
        labels: of the digits.
        measures: for each value of each curve, how much it counts in the score of each span, `[spans, values]`.
        is_digit: whether a span is one of the digits that were written.
    """

    line: segmentation.Writing
    seams: Seams
    spans: Spans
    shared: Array
    labels: Array
    measures: Array
    is_digit: Array

    def read(self, model: Model, chosen: Array) -> None:
        """Keep the chosen spans, and have a model read them."""
        self.spans, self.shared = self.spans.select(chosen), self.shared[:, chosen]
        inputs = np.stack([segmentation.rendered(self.line, self.seams, span) for span in self.spans])
        (name,), (output, *_) = model.inputs, model.outputs
        probabilities = model.run({name: inputs}, [output])[output]
        doubt = _counted([(scores.DOUBT, scores.doubts(probabilities))])
        self.measures = np.concatenate((self.measures[chosen], doubt), axis=1)
        is_right = probabilities.argmax(axis=1) == self.labels[self.shared.argmax(axis=0)]
        self.is_digit = self.is_digit[chosen] | ((self.shared.max(axis=0) > SIMILAR) & is_right)


def examples(images: Array, labels: Array) -> Iterator[Example]:
    """Yield the lines of all numbers, without what a model reads."""
    random = np.random.default_rng(1)
    for kind, count, (least, end) in NUMBERS:
        for seed in range(count):
            chosen = random.integers(0, len(images), random.integers(least, end))
            digits = [hard_images.from_outline(images[each]) for each in chosen]
            yield from _lines(digits, labels[chosen], kind, seed)
        print(f"{kind}: {count} numbers", file=sys.stderr, flush=True)


def _lines(digits: Sequence[hard_images.Floats], labels: Array, kind: str, seed: int) -> Iterator[Example]:
    """Yield the line of a number, unless it is taken for several."""
    file = many_digits.write(digits, kind, seed)
    picture = decode(file, max_pixels=MAX_PIXELS, max_side=number.WORKING_SIDE)
    grey = ink.most_contrasting(picture.luminance, picture.colours)
    found = find_handwriting(grey, text_lines.all_digits)
    masks = list(text_lines.split(found.mask, segmentation.MOST_DIGITS))
    if len(masks) > 1:
        return
    line = segmentation.writing(found, masks[0])
    seams = segmentation.find_seams(line, segmentation.MOST_SEAMS)
    possible = spans.between(seams, line.mask, line.stroke_width)
    layers = [_reduced(layer, grey.shape[1], grey.shape[0]) for layer in many_digits.layers(digits, kind, seed)]
    shared = _shared_ink(layers, line, seams, possible)
    measures = _counted(scores.measures(possible, seams, line.stroke_width))
    yield Example(line, seams, possible, shared, labels, measures, shared.max(axis=0) > SAME)


def _counted(measures: Sequence[tuple[scores.Curve, Array]]) -> Array:
    """Return how much each value of each curve counts in the score of each span, `[spans, values]`."""
    counted: dict[scores.Curve, Array] = {}
    for curve, measure in measures:
        share = np.stack([np.interp(measure, curve.points, one) for one in np.eye(len(curve.points))], axis=1)
        counted[curve] = counted.get(curve, 0) + share
    return np.concatenate(list(counted.values()), axis=1)


def _reduced(layer: Array, width: int, height: int) -> Array:
    image = Image.fromarray(np.rint(layer * 255).astype(np.uint8))
    reduced: Array = np.asarray(image.resize((width, height), Image.Resampling.BOX)) / 255
    return reduced


def _shared_ink(layers: Sequence[Array], line: segmentation.Writing, seams: Seams, possible: Spans) -> Array:
    """Return the part of all ink of a digit and a span that they share, `[digits, spans]`."""
    height, width = line.mask.shape
    rows, columns = slice(line.top, line.top + height), slice(line.left, line.left + width)
    total = np.cumsum([layer[rows, columns] * line.mask for layer in layers], axis=2)
    before = np.pad(total, ((0, 0), (0, 0), (1, 0)))[:, np.arange(height), seams.columns]
    shared = np.maximum(before[:, possible.last] - before[:, possible.first], 0).sum(axis=2)
    digit, span = total[:, :, -1].sum(axis=1)[:, None], shared.sum(axis=0)
    return np.asarray(shared / (digit + span - shared))


class Sequences:
    """All sequences of spans of many lines at once, for the gradient of their likelihood."""

    def __init__(self, lines: Sequence[Example]) -> None:
        self._line = np.repeat(np.arange(len(lines)), [len(line.spans) for line in lines])
        self._first = np.concatenate([line.spans.first for line in lines])
        self._last = np.concatenate([line.spans.last for line in lines])
        self._ends = np.array([int(line.spans.last.max()) for line in lines])

    def log_totals(self, span_scores: Array) -> tuple[Array, Array]:
        """Return what `sequence.log_total` does: for each line `[lines]`, and for each span of all lines."""
        lines, seams = len(self._ends), int(self._ends.max()) + 1
        steps = np.full((lines, seams, seams), -np.inf)
        steps[self._line, self._first, self._last] = span_scores
        before, after = np.full((lines, seams), -np.inf), np.full((lines, seams), -np.inf)
        before[:, 0] = 0
        after[np.arange(lines), self._ends] = 0
        for seam in range(1, seams):
            before[:, seam] = np.logaddexp.reduce(before[:, :seam] + steps[:, :seam, seam], axis=1)
        for seam in range(seams - 2, -1, -1):
            onwards = np.logaddexp.reduce(after[:, seam + 1 :] + steps[:, seam, seam + 1 :], axis=1)
            after[:, seam] = np.where(self._ends == seam, 0, onwards)
        totals = before[np.arange(lines), self._ends]
        spans_totals = before[self._line, self._first] + span_scores + after[self._line, self._last]
        with np.errstate(invalid="ignore"):  # of lines without any sequence
            return totals, np.nan_to_num(np.exp(spans_totals - totals[self._line]))


def fit(lines: Sequence[Example], shapes: int) -> Array:
    """Return the values of all curves, one after another.

    Args:
        lines: those whose digits no spans are do not count.
        shapes: how many of the values are of curves of shapes. These have to do without the others as well, since they
            choose what the model reads.
    """
    is_digit = np.concatenate([line.is_digit for line in lines])
    totals, _ = Sequences(lines).log_totals(np.where(is_digit, 0, -np.inf))
    complete = [line for line, total in zip(lines, totals, strict=True) if np.isfinite(total)]
    sequences, measures = Sequences(complete), np.concatenate([line.measures for line in complete])
    is_digit = np.concatenate([line.is_digit for line in complete])

    def unlikelihood(values: Array) -> tuple[float, Array]:
        span_scores = measures @ values
        every, probable = sequences.log_totals(span_scores)
        right, expected = sequences.log_totals(np.where(is_digit, span_scores, -np.inf))
        return float((every - right).mean()), (probable - expected) @ measures / len(complete)

    def loss(values: Array) -> tuple[float, Array]:
        of_shapes = np.where(np.arange(len(values)) < shapes, values, 0)
        together, slope = unlikelihood(values)
        alone, slope_alone = unlikelihood(of_shapes)
        slope[:shapes] += SHAPES_ALONE * slope_alone[:shapes]
        size = float(values @ values)
        return together + SHAPES_ALONE * alone + REGULARIZATION * size, slope + 2 * REGULARIZATION * values

    fitted = minimize(loss, np.zeros(measures.shape[1]), method="L-BFGS-B", jac=True, options={"maxiter": STEPS})
    print(f"loss {fitted.fun:.4f}, {len(complete)} of {len(lines)} lines", file=sys.stderr, flush=True)
    return np.asarray(fitted.x)


def main() -> None:
    """Fit the curves of shapes, then all curves for the spans that are probable by their shape, and print them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, default=ROOT / "var/models")
    parser.add_argument("--model", default="mnist-classifier")
    parser.add_argument("--images", type=Path, required=True, help="validation split of stage prepare")
    arguments = parser.parse_args()
    folder = ModelRepository(arguments.repository)
    model = Model(folder.read(arguments.model, folder.scan()[arguments.model].champion))
    with np.load(arguments.images) as split:
        lines = list(examples(split["inputs"].reshape(-1, 28, 28), split["targets"]))
    shapes = fit(lines, lines[0].measures.shape[1])
    for line in lines:
        possible = line.spans
        probabilities = sequence.probabilities(possible.first, possible.last, line.measures @ shapes)
        line.read(model, probabilities > PROBABLE)
    values = fit(lines, len(shapes))
    for name in CURVES:
        points = getattr(scores, name).points
        own, values = values[: len(points)], values[len(points) :]
        print(f"{name} = Curve({points}, {tuple(round(float(value), 2) for value in own)})")


if __name__ == "__main__":
    main()
