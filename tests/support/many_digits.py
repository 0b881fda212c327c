"""Numbers of several digits, written by hand: digits of a dataset or pen strokes, side by side on one sheet.

The digits of a number are drawn anew at high resolution, as `hard_images` does. The same seed gives the same file.
"""

from collections.abc import Sequence

import hard_images
import numpy as np
from hard_images import Floats, Scene

HEIGHT = 96  # of a digit, in pixels
MARGIN = 40
# How the digits of a number lie; on lines, half of them are below the others.
KINDS = ("spaced", "touching", "sizes", "lines")
SMALLEST = 0.6  # of the sizes
GAPS = (0.08, 0.5)  # between spaced digits, as shares of their height
DEEPEST = 4  # touching digits are pushed into each other by fewer pixels than this
DRIFT = 0.05  # up or down, as a share of the height


def write(digits: Sequence[Floats], kind: str, seed: int) -> bytes:
    """Return an image file of a number.

    Args:
        digits: ink of each digit, from left to right, `[height, width]`, 0 to 1.
        kind: how the digits lie, one of `KINDS`.
        seed: of everything random.
    """
    rng = np.random.default_rng(seed)
    half = (len(digits) + 1) // 2
    rows = [digits[:half], digits[half:]] if kind == "lines" else [digits]
    lines = [_line(row, kind, rng) for row in rows if row]
    width = max(line.shape[1] for line in lines) + 2 * MARGIN
    sheet = np.zeros((sum(len(line) for line in lines) + MARGIN * (1 + len(lines)), width))
    top = MARGIN
    for line in lines:
        sheet[top : top + len(line), MARGIN : MARGIN + line.shape[1]] = line
        top += len(line) + MARGIN
    scene = Scene(sheet, rng)
    grains = rng.normal(0, 3, (*sheet.shape, 1))
    scene.over.append(lambda colours: colours + grains)
    return scene.file()


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


def _line(digits: Sequence[Floats], kind: str, rng: np.random.Generator) -> Floats:
    """Return the ink of digits side by side."""
    line: Floats = np.zeros((round(HEIGHT * (1 + 2 * DRIFT)), 0))
    for digit in digits:
        share = rng.uniform(SMALLEST, 1) if kind == "sizes" else 1.0
        cropped = hard_images.resized(digit, HEIGHT * share)
        top = round(rng.uniform(0, 1) * (len(line) - len(cropped)))
        placed = np.zeros((len(line), cropped.shape[1]))
        placed[top : top + len(cropped)] = cropped
        gap = float(rng.uniform(*GAPS)) * HEIGHT
        if kind == "touching":
            gap = _contact(line, placed) - int(rng.integers(1, DEEPEST))
        line = _beside(line, placed, gap)
    return line


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


def _beside(line: Floats, digit: Floats, gap: float) -> Floats:
    start = max(0, line.shape[1] + round(gap)) if line.shape[1] else 0
    joined = np.zeros((len(line), max(line.shape[1], start + digit.shape[1])))
    joined[:, : line.shape[1]] = line
    joined[:, start : start + digit.shape[1]] = np.maximum(joined[:, start : start + digit.shape[1]], digit)
    return joined
