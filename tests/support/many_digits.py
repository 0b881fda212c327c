"""Numbers of several digits, written by hand: digits of a dataset or pen strokes, side by side on one sheet.

The digits of a number are drawn anew at high resolution, as `image_faults` does. The same seed gives the same file.
"""

import itertools
from collections.abc import Sequence

import image_faults
import numpy as np
from image_faults import Floats, Scene
from numpy.typing import NDArray
from PIL import Image

HEIGHT = 96  # of a digit, in pixels
MARGIN = 40
# How the digits of a number lie; on lines, half of them are below the others. Those in a box, in a comb of cells, above
# an underline, and cropped closely are spaced.
PLAIN = ("spaced", "touching", "sizes", "touching sizes", "lines")
WITH_LINES = ("boxed", "comb", "tilted comb", "underlined")
KINDS = (*PLAIN, *WITH_LINES, "cropped")
COMBS = ("comb", "tilted comb")
TILT = 2.0  # degrees
TOUCHING = ("touching", "touching sizes")
OF_DIFFERENT_SIZE = ("sizes", "touching sizes")
MIN_SIZE = 0.6  # as a share of the height
GAPS = (0.08, 0.5)  # between spaced digits, as shares of their height
MAX_OVERLAP = 3  # by which touching digits are pushed into each other, in pixels
DRIFT = 0.05  # up or down, as a share of the height
LINE = 4  # width of the lines of boxes and underlines, in pixels


def write(digits: Sequence[Floats], kind: str, seed: int) -> bytes:
    """Return an image file of a number.

    Args:
        digits: ink of each digit, from left to right, `[height, width]`, 0 to 1.
        kind: how the digits lie, one of `KINDS`.
        seed: of everything random.
    """
    rng = np.random.default_rng(seed)
    layers = _layers(digits, kind, rng)
    sheet = _cropped(np.max(layers, axis=0)) if kind == "cropped" else np.max(layers, axis=0)
    sheet[_lines(layers, kind)] = 1
    if kind == "tilted comb":
        sheet = np.asarray(Image.fromarray(sheet).rotate(TILT, Image.Resampling.BILINEAR, expand=True))
    scene = Scene(sheet, rng)
    grains = rng.normal(0, 3, (*sheet.shape, 1))
    scene.over.append(lambda colours: colours + grains)
    return scene.file()


def layers(digits: Sequence[Floats], kind: str, seed: int) -> list[Floats]:
    """Return the ink of each digit alone on the sheet of the image that `write` returns, `[height, width]`, 0 to 1."""
    return _layers(digits, kind, np.random.default_rng(seed))


def text(labels: Sequence[int], kind: str) -> str:
    """Return what a number of this kind says, with a line for each line."""
    half = (len(labels) + 1) // 2
    written = "".join(map(str, labels))
    return f"{written[:half]}\n{written[half:]}" if kind == "lines" else written


def agreement(found: str, expected: str) -> float:
    """Return the share of characters that are right: 1 less the edit distance for each character, but not below 0."""
    distances = list(range(len(expected) + 1))
    for row, one in enumerate(found, 1):
        before, distances[0] = distances[0], row
        for column, other in enumerate(expected, 1):
            change = before + (one != other)
            before = distances[column]
            distances[column] = min(change, before + 1, distances[column - 1] + 1)
    return max(0.0, 1 - distances[-1] / len(expected))


def _layers(digits: Sequence[Floats], kind: str, rng: np.random.Generator) -> list[Floats]:
    half = (len(digits) + 1) // 2
    rows = [digits[:half], digits[half:]] if kind == "lines" else [digits]
    lines = [_line(row, kind, rng) for row in rows if row]
    height, width = round(HEIGHT * (1 + 2 * DRIFT)), max(_width(line) for line in lines)
    sheet = (len(lines) * height + MARGIN * (1 + len(lines)), width + 2 * MARGIN)
    layers: list[Floats] = []
    for number, line in enumerate(lines):
        top = MARGIN + number * (height + MARGIN)
        for left, placed in line:
            layer: Floats = np.zeros(sheet)
            layer[top : top + height, MARGIN + left : MARGIN + left + placed.shape[1]] = placed
            layers.append(layer)
    return layers


def _cropped(sheet: Floats) -> Floats:
    rows, columns = (np.flatnonzero((sheet > 0.5).any(axis=axis)) for axis in (1, 0))
    return sheet[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _lines(layers: Sequence[Floats], kind: str) -> tuple[NDArray[np.intp], ...]:
    """Return the pixels of the lines around or below the digits."""
    lines = np.zeros(layers[0].shape if kind in WITH_LINES else (0, 0), bool)
    if kind == "underlined":
        lines[-MARGIN + 10 : -MARGIN + 10 + LINE, MARGIN // 2 : -MARGIN // 2] = True
    if kind in ("boxed", *COMBS):
        inset = MARGIN // 3
        lines[inset:-inset, inset:-inset] = True
        lines[inset + LINE : -inset - LINE, inset + LINE : -inset - LINE] = False
    if kind in COMBS:
        columns = [np.flatnonzero((layer > 0.5).any(axis=0)) for layer in layers]
        for one, following in itertools.pairwise(columns):
            wall = (one[-1] + following[0]) // 2
            lines[inset:-inset, wall : wall + LINE // 2] = True
    return lines.nonzero()


def _line(digits: Sequence[Floats], kind: str, rng: np.random.Generator) -> list[tuple[int, Floats]]:
    """Return the digits of a line, as high as the line, and the column where each begins."""
    line: Floats = np.zeros((round(HEIGHT * (1 + 2 * DRIFT)), 0))
    placed: list[tuple[int, Floats]] = []
    for digit in digits:
        share = rng.uniform(MIN_SIZE, 1) if kind in OF_DIFFERENT_SIZE else 1.0
        cropped = image_faults.resized(digit, HEIGHT * share)
        top = round(rng.uniform(0, 1) * (len(line) - len(cropped)))
        field: Floats = np.zeros((len(line), cropped.shape[1]))
        field[top : top + len(cropped)] = cropped
        gap = float(rng.uniform(*GAPS)) * HEIGHT
        if kind in TOUCHING:
            gap = _contact(line, field) - int(rng.integers(1, MAX_OVERLAP + 1))
        left = max(0, line.shape[1] + round(gap)) if placed else 0
        placed.append((left, field))
        line = _beside(line, field, left)
    return placed


def _width(line: Sequence[tuple[int, Floats]]) -> int:
    return max(left + int(digit.shape[1]) for left, digit in line)


def _contact(line: Floats, digit: Floats) -> int:
    """Return at which gap between their boxes, 0 or less, a digit begins to touch a line."""
    if not line.shape[1]:
        return 0
    right = np.array([np.flatnonzero(row > 0.5).max(initial=-1) for row in line])
    left = np.array([np.flatnonzero(row > 0.5).min(initial=digit.shape[1]) for row in digit])
    inked = (right >= 0) & (left < digit.shape[1])
    if not inked.any():
        return 0
    return -int((line.shape[1] - 1 - right + left)[inked].min())


def _beside(line: Floats, digit: Floats, left: int) -> Floats:
    joined = np.zeros((len(line), max(line.shape[1], left + digit.shape[1])))
    joined[:, : line.shape[1]] = line
    part = joined[:, left : left + digit.shape[1]]
    np.maximum(part, digit, out=part)
    return joined
