"""Fit the curves of `serving/images/numbers/scores.py`, which decide where a number is cut into digits.

Numbers are written from validation images, which the champion was not trained on, as `many_digits.py` writes them from
test images. The curves maximize the likelihood of a semi-Markov conditional random field with L-BFGS: of all sequences
of spans along a line, those whose spans are the digits that were written become as probable as possible, given the
features of all spans and the probabilities of the champion. Takes about ten minutes, and prints the curves.

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
import image_faults
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
# Intersection over union of the ink of a span and a digit from which on the span is the digit; less if the model
# classifies it correctly.
MIN_IOU = 0.87
MIN_IOU_IF_CORRECT = 0.72
# The model reads spans with at least this marginal probability by their shape.
MIN_PROBABILITY = 1e-4
REGULARIZATION = 1e-4
SHAPES_ALONE = 0.25  # weight in the loss of the likelihood by shapes alone
STEPS = 100
CURVES = ("WIDTH", "HEIGHT", "GAP", "INK", "STROKES", "GAP_DISTANCE", "UNCERTAINTY")


@dataclass
class Example:
    """A line, its spans, and which of them are digits.

    Attributes:
        line, seams, spans: of an image of a number.
        iou: intersection over union of the ink of each digit and each span, `[digits, spans]`.
        labels: of the digits, `[digits]`.
        design: weight of each value of each curve in the score of each span, `[spans, values]`.
        is_digit: whether a span is one of the digits that were written, `[spans]`.
    """

    line: segmentation.LineImage
    seams: Seams
    spans: Spans
    iou: Array
    labels: Array
    design: Array
    is_digit: Array

    def read(self, model: Model, chosen: Array) -> None:
        """Keep the chosen spans, and have a model read them."""
        self.spans, self.iou = self.spans.select(chosen), self.iou[:, chosen]
        inputs = np.stack([segmentation.render(self.line, self.seams, span) for span in self.spans])
        (name,), (output, *_) = model.inputs, model.outputs
        probabilities = model.run({name: inputs}, [output])[output]
        uncertainty = _design_matrix([(scores.UNCERTAINTY, scores.log_uncertainty(probabilities))])
        self.design = np.concatenate((self.design[chosen], uncertainty), axis=1)
        is_correct = probabilities.argmax(axis=1) == self.labels[self.iou.argmax(axis=0)]
        self.is_digit = self.is_digit[chosen] | ((self.iou.max(axis=0) > MIN_IOU_IF_CORRECT) & is_correct)


def examples(images: Array, labels: Array) -> Iterator[Example]:
    """Yield the lines of all numbers, without the probabilities of a model."""
    random = np.random.default_rng(1)
    for kind, count, (low, high) in NUMBERS:
        for seed in range(count):
            chosen = random.integers(0, len(images), random.integers(low, high))
            digits = [image_faults.from_outline(images[each]) for each in chosen]
            yield from _lines(digits, labels[chosen], kind, seed)
        print(f"{kind}: {count} numbers", file=sys.stderr, flush=True)


def _lines(digits: Sequence[image_faults.Floats], labels: Array, kind: str, seed: int) -> Iterator[Example]:
    """Yield the line of a number, unless it is taken for several."""
    file = many_digits.write(digits, kind, seed)
    picture = decode(file, max_pixels=MAX_PIXELS, max_side=number.WORKING_SIDE)
    grey = ink.most_contrasting(picture.luminance, picture.colours)
    found = find_handwriting(grey, text_lines.all_digits)
    masks = list(text_lines.split(found.mask, segmentation.MAX_DIGITS))
    if len(masks) > 1:
        return
    line = segmentation.crop_line(found, masks[0])
    seams = segmentation.find_seams(line, segmentation.MAX_SEAMS)
    possible = spans.find(seams, line.mask, line.stroke_width)
    layers = [_reduced(layer, grey.shape[1], grey.shape[0]) for layer in many_digits.layers(digits, kind, seed)]
    iou = _iou(layers, line, seams, possible)
    design = _design_matrix(scores.shape_features(possible, seams, line.stroke_width))
    yield Example(line, seams, possible, iou, labels, design, iou.max(axis=0) > MIN_IOU)


def _design_matrix(features: Sequence[tuple[scores.Curve, Array]]) -> Array:
    """Return the weight of each value of each curve in the score of each span, `[spans, values]`: its hat function."""
    weights: dict[scores.Curve, Array] = {}
    for curve, feature in features:
        hats = np.stack([np.interp(feature, curve.knots, one) for one in np.eye(len(curve.knots))], axis=1)
        weights[curve] = weights.get(curve, 0) + hats
    return np.concatenate(list(weights.values()), axis=1)


def _reduced(layer: Array, width: int, height: int) -> Array:
    image = Image.fromarray(np.rint(layer * 255).astype(np.uint8))
    reduced: Array = np.asarray(image.resize((width, height), Image.Resampling.BOX)) / 255
    return reduced


def _iou(layers: Sequence[Array], line: segmentation.LineImage, seams: Seams, possible: Spans) -> Array:
    """Return the intersection over union of the ink of each digit and each span, `[digits, spans]`."""
    height, width = line.mask.shape
    rows, columns = slice(line.top, line.top + height), slice(line.left, line.left + width)
    cumulative = np.cumsum([layer[rows, columns] * line.mask for layer in layers], axis=2)
    before = np.pad(cumulative, ((0, 0), (0, 0), (1, 0)))[:, np.arange(height), seams.columns]
    intersection = np.maximum(before[:, possible.last] - before[:, possible.first], 0).sum(axis=2)
    digit, span = cumulative[:, :, -1].sum(axis=1)[:, None], intersection.sum(axis=0)
    return np.asarray(intersection / (digit + span - intersection))


class Sequences:
    """All sequences of spans of many lines at once, for the gradient of the likelihood."""

    def __init__(self, lines: Sequence[Example]) -> None:
        self._line = np.repeat(np.arange(len(lines)), [len(line.spans) for line in lines])
        self._first = np.concatenate([line.spans.first for line in lines])
        self._last = np.concatenate([line.spans.last for line in lines])
        self._ends = np.array([int(line.spans.last.max()) for line in lines])

    def log_partitions(self, span_scores: Array) -> tuple[Array, Array]:
        """Return the results of `sequence.log_partition`: for each line `[lines]`, and for each span of all lines."""
        lines, seams = len(self._ends), int(self._ends.max()) + 1
        edges = np.full((lines, seams, seams), -np.inf)
        edges[self._line, self._first, self._last] = span_scores
        forward, backward = np.full((lines, seams), -np.inf), np.full((lines, seams), -np.inf)
        forward[:, 0] = 0
        backward[np.arange(lines), self._ends] = 0
        for seam in range(1, seams):
            forward[:, seam] = np.logaddexp.reduce(forward[:, :seam] + edges[:, :seam, seam], axis=1)
        for seam in range(seams - 2, -1, -1):
            onwards = np.logaddexp.reduce(backward[:, seam + 1 :] + edges[:, seam, seam + 1 :], axis=1)
            backward[:, seam] = np.where(self._ends == seam, 0, onwards)
        totals = forward[np.arange(lines), self._ends]
        spans_totals = forward[self._line, self._first] + span_scores + backward[self._line, self._last]
        with np.errstate(invalid="ignore"):  # of lines without any sequence
            return totals, np.nan_to_num(np.exp(spans_totals - totals[self._line]))


def fit(lines: Sequence[Example], shapes: int) -> Array:
    """Return the values of all curves, one after another.

    Args:
        lines: with their spans; lines without a span for each digit are left out.
        shapes: how many of the values belong to curves of shapes. These also have a loss of their own, because they
            alone choose the spans that the model reads.
    """
    is_digit = np.concatenate([line.is_digit for line in lines])
    totals, _ = Sequences(lines).log_partitions(np.where(is_digit, 0, -np.inf))
    complete = [line for line, total in zip(lines, totals, strict=True) if np.isfinite(total)]
    sequences, design = Sequences(complete), np.concatenate([line.design for line in complete])
    is_digit = np.concatenate([line.is_digit for line in complete])

    def negative_log_likelihood(values: Array) -> tuple[float, Array]:
        span_scores = design @ values
        all_sequences, marginals = sequences.log_partitions(span_scores)
        correct, conditional = sequences.log_partitions(np.where(is_digit, span_scores, -np.inf))
        return float((all_sequences - correct).mean()), (marginals - conditional) @ design / len(complete)

    def loss(values: Array) -> tuple[float, Array]:
        of_shapes = np.where(np.arange(len(values)) < shapes, values, 0)
        together, gradient = negative_log_likelihood(values)
        alone, gradient_alone = negative_log_likelihood(of_shapes)
        gradient[:shapes] += SHAPES_ALONE * gradient_alone[:shapes]
        squares = float(values @ values)
        return together + SHAPES_ALONE * alone + REGULARIZATION * squares, gradient + 2 * REGULARIZATION * values

    fitted = minimize(loss, np.zeros(design.shape[1]), method="L-BFGS-B", jac=True, options={"maxiter": STEPS})
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
    shapes = fit(lines, lines[0].design.shape[1])
    for line in lines:
        possible = line.spans
        probabilities = sequence.marginals(possible.first, possible.last, line.design @ shapes)
        line.read(model, probabilities > MIN_PROBABILITY)
    values = fit(lines, len(shapes))
    for name in CURVES:
        knots = getattr(scores, name).knots
        own, values = values[: len(knots)], values[len(knots) :]
        print(f"{name} = Curve({knots}, {tuple(round(float(value), 2) for value in own)})")


if __name__ == "__main__":
    main()
