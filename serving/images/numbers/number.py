"""Reading of numbers: all digits of an image, line by line and from left to right."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from serving.errors import InvalidRequestError
from serving.images import ink
from serving.images.components import Box, Floats
from serving.images.decoding import decode
from serving.images.ink import Grey
from serving.images.numbers import scores, sequence
from serving.images.numbers.segmentation import Line, segment
from serving.images.preprocessing import Handwriting, ImagePayload, Reading, find_handwriting, read
from serving.images.text_lines import all_digits

# Larger images are reduced by a whole factor to at most this side, so that each digit of a number keeps enough pixels.
WORKING_SIDE = 640


@dataclass(frozen=True)
class Digit:
    """A digit of a number: its row in the inputs of the model, its line from the top, and its box in the image."""

    row: int
    line: int
    box: Box


@dataclass(frozen=True)
class Candidates:
    """The candidates for the digits of an image, before the model has classified them.

    Attributes:
        whole: the image read as a single digit, in this box.
        lines: of handwriting; none if the image was used as it is.
        inputs: of the model, uint8 [n, 28, 28]: the image as a single digit, then the candidates of each line.
    """

    whole: Box
    lines: Sequence[Line]
    inputs: npt.NDArray[np.uint8]

    def digits(self, probabilities: Floats) -> list[Digit]:
        """Return the digits. A single one is that of the whole image.

        Args:
            probabilities: of the model for each of the inputs, `[n, classes]`.
        """
        found = list(self._found(probabilities))
        return found if len(found) > 1 else [Digit(0, 0, self.whole)]

    def _found(self, probabilities: Floats) -> Iterator[Digit]:
        first = 1
        for number, line in enumerate(self.lines):
            last = first + len(line)
            for chosen in _chosen(line, probabilities[first:last]):
                yield Digit(first + chosen, number, line[chosen].box)
            first = last


@dataclass(frozen=True)
class NumberReading:
    """How an image of one or several digits was read.

    Attributes:
        whole: the image read as a single digit.
        grey: the image, upright, grey and downsampled less than for a single digit, `[height, width]`.
        handwriting: that was segmented; None if the image was used as it is.
        candidates: for its digits.
    """

    whole: Reading
    grey: Grey
    handwriting: Handwriting | None
    candidates: Candidates


def read_number(image: ImagePayload, *, max_pixels: int) -> NumberReading:
    """Find the candidates for the digits of an image.

    Args:
        image: a file, or pixels.
        max_pixels: largest width times height.

    Raises:
        UnsupportedMediaError, TooLargeError: as `preprocessing.read`.
        InvalidRequestError: as `preprocessing.read`, or there are too many strokes.
    """
    whole = read(image, mode="digit", max_pixels=max_pixels)
    if whole.handwriting is None or not isinstance(image, bytes):
        return NumberReading(whole, whole.grey, None, _candidates(whole, []))
    picture = decode(image, max_pixels=max_pixels, max_side=WORKING_SIDE)
    grey = ink.most_contrasting(picture.luminance, picture.colours)
    found = find_handwriting(grey, all_digits)
    height, width = grey.shape
    lines = segment(found, picture.width / width, picture.height / height)
    return NumberReading(whole, grey, found, _candidates(whole, lines))


def limited(readings: Iterable[NumberReading], max_rows: int) -> Iterator[NumberReading]:
    """Yield readings as long as they have at most this many inputs in total.

    Raises:
        InvalidRequestError: they have more.
    """
    rows = 0
    for reading in readings:
        rows += len(reading.candidates.inputs)
        if rows > max_rows:
            raise InvalidRequestError(f"too many strokes: there may be at most {max_rows} candidates for digits")
        yield reading


def choose_digits(images: Iterable[Candidates], probabilities: Floats) -> Iterator[list[Digit]]:
    """Yield the digits of each image.

    Args:
        images: the candidates of each.
        probabilities: of the model for the inputs of all of them, one after another, `[n, classes]`.
    """
    first = 0
    for image in images:
        last = first + len(image.inputs)
        yield [replace(digit, row=first + digit.row) for digit in image.digits(probabilities[first:last])]
        first = last


def _chosen(line: Line, probabilities: Floats) -> list[int]:
    """Return the numbers of the candidates that are the digits of a line, from left to right."""
    first, last = (np.array([getattr(each, end) for each in line]) for end in ("first", "last"))
    shape_scores = np.array([each.score for each in line])
    return sequence.best(first, last, shape_scores + scores.of_probabilities(probabilities))


def text(digits: Sequence[Digit], names: Sequence[str]) -> str:
    """Return the names of the classes of digits as a text with a line for each line."""
    lines = [""] * (1 + max(digit.line for digit in digits))
    for digit, name in zip(digits, names, strict=True):
        lines[digit.line] += name
    return "\n".join(lines)


def _candidates(whole: Reading, lines: Sequence[Line]) -> Candidates:
    inputs = [whole.input, *(candidate.input for line in lines for candidate in line)]
    return Candidates(whole.box, lines, np.stack(inputs))
