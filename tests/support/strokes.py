"""Digits as people write them: strokes of ten digits in several shapes each, to be drawn by a mouse or as a picture.

A stroke is written as the points that the pen passes, `x,y` in hundredths of a square's side, from the upper left. The
pen takes smooth curves through them, and turns on the spot at a point with `!`.
"""

import io
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

Point = tuple[float, float]
Strokes = Sequence[np.ndarray]  # each [points, 2]

STEPS = 6  # from each point to the next
FINE = 4
SIDE = 280  # of a picture, in pixels

SHAPES: dict[str, list[list[str]]] = {
    "0": [
        ["52,8 30,20 20,50 30,82 50,92 72,80 80,50 70,18 50,8"],
        ["60,6 40,30 33,62 40,90 52,90 64,64 69,30 62,8 54,10"],
        ["66,16 44,12 22,34 20,62 42,84 68,78 82,50 74,24 58,12"],
    ],
    "1": [
        ["50,8 50,92"],
        ["36,28 54,8! 54,92"],
        ["62,8 52,50 40,92"],
    ],
    "2": [
        ["26,30 34,12 58,8 72,26 60,52 24,90! 78,90"],
        ["24,24 46,8 68,20 62,50 36,84 22,84 28,72 50,82 80,88"],
        ["30,16 50,10 66,14 64,34 46,60 26,86! 50,84 74,86"],
    ],
    "3": [
        ["28,16 50,7 70,20 62,40 46,47! 70,58 74,78 52,93 26,84"],
        ["26,10 72,10! 46,42! 70,52 74,74 54,92 26,86"],
        ["34,14 50,8 62,20 56,38 42,45! 64,54 66,76 50,92 30,90"],
    ],
    "4": [
        ["30,10 24,54! 78,54", "68,10 66,92"],
        ["78,62 20,62! 60,8! 60,92"],
        ["26,12 24,36 34,52 56,50 70,38", "72,10 66,50 60,92"],
    ],
    "5": [
        ["34,10 30,44! 52,38 74,54 70,80 48,92 24,84", "34,10 74,10"],
        ["72,10 36,12! 32,44! 56,42 70,60 62,84 40,92 26,84"],
        ["78,8 44,10! 36,42! 58,46 64,66 52,86 24,90"],
    ],
    "6": [
        ["64,8 40,26 27,56 34,86 58,90 70,70 56,54 34,62"],
        ["36,8 30,40 30,74 48,92 70,80 68,60 48,52 31,66"],
        ["74,10 50,32 34,66 40,88 56,88 62,70 48,64 36,76"],
    ],
    "7": [
        ["22,12 76,12! 40,92"],
        ["24,12 74,12! 56,50 44,92", "38,50 72,48"],
        ["22,26 24,14! 50,18 76,10! 54,46 46,92"],
    ],
    "8": [
        ["68,18 48,7 30,22 48,46 70,70 50,93 28,74 48,48 68,22"],
        ["50,7 32,16 34,38 50,46 66,38 68,16 50,7", "50,46 28,58 28,82 50,93 72,82 72,58 50,46"],
        ["74,16 58,8 44,20 50,42 58,66 46,90 30,80 40,58 74,18"],
    ],
    "9": [
        ["68,22 50,8 30,24 36,46 58,44 69,18! 66,92"],
        ["70,26 52,8 30,22 34,44 56,46 70,20! 70,60 58,90 32,88"],
        ["66,14 44,14 30,34 44,48 64,34 70,12! 58,54 46,92"],
    ],
}


@dataclass(frozen=True)
class Hand:
    """How somebody writes: size and place as shares of the sheet's side, slant, and how much the hand shakes.

    Who wants a thicker line than the pen gives goes over it `again`, so far beside it.
    """

    size: float = 0.8
    centre: Point = (0.5, 0.5)
    slant: float = 0.0
    tremor: float = 0.0
    again: float = 0.0

    def write(self, shape: Sequence[str], seed: int = 0) -> Strokes:
        """Return the strokes of a shape in this hand; another seed shakes otherwise."""
        shaking = np.random.default_rng(seed)
        strokes = [self._place(_smooth(_points(stroke)), shaking) for stroke in shape]
        return [*strokes, *(stroke + self.again for stroke in strokes)] if self.again else strokes

    def _place(self, points: np.ndarray, shaking: np.random.Generator) -> np.ndarray:
        around = points - 0.5 + shaking.normal(scale=self.tremor, size=points.shape)
        around[:, 0] -= self.slant * around[:, 1]
        return np.asarray(self.centre) + self.size * around


@dataclass(frozen=True)
class Photo:
    """How a picture of a sheet comes out.

    Args:
        paper, colour: brightness of the sheet and of what is written on it, 0 to 255.
        pen: its width, as a share of the side.
        fall: share of the light that is lost from one side of the sheet to the other.
        noise, blur: their standard deviations, in grey levels and in pixels.
        kind: PNG or JPEG.
    """

    paper: int = 235
    colour: int = 35
    pen: float = 0.06
    fall: float = 0.0
    noise: float = 0.0
    blur: float = 0.0
    kind: str = "JPEG"

    def take(self, strokes: Strokes, seed: int = 0) -> bytes:
        """Return the file; another seed has other noise, and its light from elsewhere."""
        covered = ink(strokes, SIDE, self.pen)
        sheet = (self.paper + (self.colour - self.paper) * covered) * (1 - self.fall * _slope(seed))
        blurred = Image.fromarray(sheet.astype(np.uint8)).filter(ImageFilter.GaussianBlur(self.blur))
        grains = np.random.default_rng(seed).normal(scale=self.noise, size=sheet.shape)
        picture = Image.fromarray(np.clip(np.asarray(blurred) + grains, 0, 255).astype(np.uint8))
        file = io.BytesIO()
        picture.save(file, self.kind)
        return file.getvalue()


def every_shape() -> Iterator[tuple[str, list[str]]]:
    """Yield all digits in all shapes."""
    for digit, shapes in SHAPES.items():
        for shape in shapes:
            yield digit, shape


def ink(strokes: Strokes, side: int, pen: float) -> np.ndarray:
    """Return how much of each pixel a pen of this width, a share of the side, covers: [side, side], 0 to 1."""
    sheet = Image.new("L", (side * FINE, side * FINE))
    drawing = ImageDraw.Draw(sheet)
    radius = pen * side * FINE / 2
    for stroke in strokes:
        path = [(float(x), float(y)) for x, y in stroke * side * FINE]
        drawing.line(path, fill=255, width=round(2 * radius))
        for x, y in path:
            drawing.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)
    return np.asarray(sheet.reduce(FINE)) / 255


def _slope(seed: int) -> np.ndarray:
    """Return a plane from 0 to 1 over a picture; each seed turns it further."""
    angle = seed * math.tau * 0.382  # the golden section's share, which never comes back to where it was
    down, right = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    plane = math.cos(angle) * right + math.sin(angle) * down
    return np.asarray((plane - plane.min()) / np.ptp(plane))


def _points(stroke: str) -> list[Point]:
    """Return the points of a stroke in a square of side 1; a corner stands twice, which stops the curve there."""
    points = []
    for written in stroke.split():
        x, y = (int(number) / 100 for number in written.rstrip("!").split(","))
        points += [(x, y)] * (1 + written.endswith("!"))
    return points


def _smooth(points: list[Point]) -> np.ndarray:
    """Return points on the Catmull-Rom curve through these."""
    through = np.array([points[0], *points, points[-1]])
    share = np.linspace(0, 1, STEPS, endpoint=False)[:, None]
    cubes = np.array([[0, 2, 0, 0], [-1, 0, 1, 0], [2, -5, 4, -1], [-1, 3, -3, 1]]) / 2
    powers = share ** np.arange(4)
    curves = [powers @ cubes @ through[first : first + 4] for first in range(len(points) - 1)]
    return np.concatenate([*curves, through[-1:]])
