"""Hard images: real handwriting drawn anew at high resolution, with one fault of a sheet, pen, light or camera, or two.

A digit is drawn from the outline of a dataset's image, or from pen strokes. Each fault has three strengths, 1 to 3. The
same seed gives the same file.
"""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageChops, ImageDraw, ImageFilter

Floats = NDArray[np.floating[Any]]

SIDE = 300  # of the sheet, in pixels
STRENGTHS = (1, 2, 3)


@dataclass
class Scene:
    """A sheet with a digit, while faults change it.

    Attributes:
        ink: coverage of each pixel by ink, `[SIDE, SIDE]`, 0 to 1.
        paper, pen: colours, each `[3]`, 0 to 255.
        over: changes of the sheet's colours after the ink, and of the image after that, in the order of their entry.
        encoding: arguments of `PIL.Image.Image.save`.
        rng: source of everything random.
    """

    ink: Floats
    rng: np.random.Generator
    paper: Floats = field(default_factory=lambda: np.array([240.0, 240, 240]))
    pen: Floats = field(default_factory=lambda: np.array([30.0, 30, 30]))
    over: list[Callable[[Floats], Floats]] = field(default_factory=list)
    encoding: dict[str, object] = field(default_factory=lambda: {"format": "PNG"})
    transparent: bool = False

    def file(self) -> bytes:
        """Return the image file."""
        sheet: Floats = self.paper + (self.pen - self.paper) * self.ink[..., None]
        for change in self.over:
            sheet = change(sheet)
        image = Image.fromarray(np.clip(np.rint(sheet), 0, 255).astype(np.uint8))
        if self.transparent:
            alpha = _to_image(self.ink).resize(image.size)
            image = Image.merge("RGBA", (*Image.new("RGB", image.size, tuple(map(int, self.pen))).split(), alpha))
        content = io.BytesIO()
        image.save(content, **self.encoding)  # type: ignore[arg-type]
        return content.getvalue()


def from_outline(image: NDArray[np.uint8], share: float = 0.6) -> Floats:
    """Return the ink of a dataset's image, `[h, w]`, drawn anew with a smooth outline.

    Args:
        share: of the sheet's side that the field of the image takes.
    """
    side = round(SIDE * share * 28 / 20)
    large = Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC)
    soft = large.filter(ImageFilter.GaussianBlur(side / 28 * 0.35))
    rows, columns = (np.flatnonzero(np.asarray(image).max(axis=axis) > 60) for axis in (1, 0))
    middle = [side * (float(lines[0] + lines[-1] + 1)) / 2 / len(image) for lines in (rows, columns)]
    sheet = Image.new("L", (SIDE, SIDE))
    sheet.paste(soft, (round(SIDE / 2 - middle[1]), round(SIDE / 2 - middle[0])))
    return np.clip((np.asarray(sheet, float) - 100) / 55, 0, 1)


def _to_image(ink: Floats) -> Image.Image:
    """Return ink as a greyscale image: the inverse of `_to_ink`."""
    return Image.fromarray(np.rint(ink * 255).astype(np.uint8))


def _to_ink(image: Image.Image) -> Floats:
    return np.asarray(image, float) / 255


def resized(ink: Floats, height: float) -> Floats:
    """Return ink cropped to its box, and scaled to this height in pixels."""
    rows, columns = (np.flatnonzero((ink > 0.5).any(axis=axis)) for axis in (1, 0))
    cropped = ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    scale = height / len(cropped)
    image = _to_image(cropped)
    size = max(1, round(cropped.shape[1] * scale)), max(1, round(height))
    return _to_ink(image.resize(size, Image.Resampling.LANCZOS))


Fault = Callable[[Scene, int], None]


def make(ink: Floats, faults: Sequence[tuple[str, int]], seed: int) -> bytes:
    """Return an image file of a digit with these faults, each with its strength, 1 to 3."""
    scene = Scene(ink.copy(), np.random.default_rng(seed))
    order = list(FAULTS)
    for name, strength in sorted(faults, key=lambda fault: order.index(fault[0])):
        FAULTS[name](scene, strength)
    return scene.file()


def _warp(ink: Floats, matrix: Sequence[float]) -> Floats:
    """Apply an affine map about the middle; the matrix maps new to old positions."""
    a, b, c, d = matrix
    middle = SIDE / 2
    data = (a, b, middle - a * middle - b * middle, c, d, middle - c * middle - d * middle)
    image = _to_image(ink)
    return _to_ink(image.transform(image.size, Image.Transform.AFFINE, data, Image.Resampling.BICUBIC))


def _rotated(scene: Scene, strength: int) -> None:
    angle = np.deg2rad((8, 16, 25)[strength - 1]) * scene.rng.choice([-1, 1])
    scene.ink = _warp(scene.ink, (np.cos(angle), np.sin(angle), -np.sin(angle), np.cos(angle)))


def _slanted(scene: Scene, strength: int) -> None:
    shear = np.tan(np.deg2rad((8, 16, 25)[strength - 1])) * scene.rng.choice([-1, 1])
    scene.ink = _warp(scene.ink, (1, shear, 0, 1))


def grown(ink: Floats, radius: int) -> Floats:
    """Return ink with strokes wider by twice the radius in pixels; narrower by a negative one."""
    image = _to_image(ink)
    for step in range(abs(radius)):  # a square and a cross in turn give nearly a disc
        size = ImageFilter.MaxFilter(3) if radius > 0 else ImageFilter.MinFilter(3)
        if step % 2:
            image = image.filter(size)
        else:
            compare = ImageChops.lighter if radius > 0 else ImageChops.darker
            image = _cross(image, compare)
    return _to_ink(image)


def _cross(image: Image.Image, compare: Callable[[Image.Image, Image.Image], Image.Image]) -> Image.Image:
    result = image
    for x, y in ((1, 0), (-1, 0), (0, 1), (0, -1)):
        result = compare(result, ImageChops.offset(image, x, y))
    return result


def _thin(scene: Scene, strength: int) -> None:
    """A fine pen: the middle line of the strokes, without gaps."""
    scene.ink = _pen_of_width(scene.ink, (6, 4, 2)[strength - 1])


def _pen_of_width(ink: Floats, width: int) -> Floats:
    middle = _thinned(ink > 0.5).astype(float)
    strokes = _to_image(grown(middle, max(0, width // 2)))
    return _to_ink(strokes.filter(ImageFilter.GaussianBlur(0.6)))


def _thinned(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the skeleton of a mask (Zhang and Suen, 1984)."""
    mask = np.pad(mask, 1)
    while True:
        before = mask.sum()
        for step in (0, 1):
            n = [
                np.roll(mask, shift, (0, 1))
                for shift in ((1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1))
            ]
            count = sum(one.astype(int) for one in n)
            turns = sum((~n[i] & n[(i + 1) % 8]).astype(int) for i in range(8))
            first, second = (
                ((n[0], n[2], n[4]), (n[2], n[4], n[6])) if step == 0 else ((n[0], n[2], n[6]), (n[0], n[4], n[6]))
            )
            drop = mask & (count >= 2) & (count <= 6) & (turns == 1)
            drop &= ~(first[0] & first[1] & first[2]) & ~(second[0] & second[1] & second[2])
            mask = mask & ~drop
        if mask.sum() == before:
            return mask[1:-1, 1:-1]


def _thick(scene: Scene, strength: int) -> None:
    scene.ink = grown(scene.ink, (4, 7, 10)[strength - 1])


def _small(scene: Scene, strength: int) -> None:
    share = (0.7, 0.5, 0.35)[strength - 1]
    scene.ink = _warp(scene.ink, (1 / share, 0, 0, 1 / share))


def _off_centre(scene: Scene, strength: int) -> None:
    scene.ink = _warp(scene.ink, (2, 0, 0, 2))
    way = scene.rng.choice([-1, 1], 2) * (25, 45, 65)[strength - 1]
    scene.ink = np.roll(scene.ink, way, (0, 1))


def _colours(pens: Sequence[tuple[int, int, int]], papers: Sequence[tuple[int, int, int]] | None = None) -> Fault:
    def fault(scene: Scene, strength: int) -> None:
        scene.pen = np.array(pens[strength - 1], float)
        if papers:
            scene.paper = np.array(papers[strength - 1], float)

    return fault


def _chalk(scene: Scene, strength: int) -> None:
    _colours([(225, 225, 220), (200, 200, 195), (170, 170, 170)], [(40, 60, 50), (50, 70, 60), (60, 75, 70)])(
        scene, strength
    )
    noise = Image.fromarray(scene.rng.integers(0, 256, (SIDE, SIDE), np.uint8))
    grain = np.asarray(noise.filter(ImageFilter.GaussianBlur(1)), float)
    scene.ink = scene.ink * np.clip(0.75 + (grain - 128) / 128 * (0.5, 1, 1.6)[strength - 1], 0, 1)


def _lines(kind: str) -> Fault:
    def fault(scene: Scene, strength: int) -> None:
        gap = int(scene.rng.integers(26, 48))
        shade = (205, 180, 150)[strength - 1]
        start = int(scene.rng.integers(0, gap))
        marks = np.zeros((SIDE, SIDE), bool)
        width = (1, 1, 2)[strength - 1]
        for offset in range(width):
            if kind == "dots":
                for right in range(width):
                    marks[start + offset :: gap // 2, start + right :: gap // 2] = True
            else:
                marks[start + offset :: gap] = True
                if kind == "squares":
                    marks[:, start + offset :: gap] = True
        colour = np.array([shade - 25, shade - 10, shade], float)

        def rule(sheet: Floats) -> Floats:
            return np.where(marks[..., None], np.minimum(sheet, colour), sheet)

        scene.over.append(rule)

    return fault


def _box(scene: Scene, strength: int) -> None:
    """The box of a printed form around the digit."""
    inset, width = (18, 26, 34)[strength - 1], (2, 3, 5)[strength - 1]
    shade = (150, 90, 40)[strength - 1]

    def rule(sheet: Floats) -> Floats:
        image = Image.fromarray(np.clip(sheet, 0, 255).astype(np.uint8))
        ImageDraw.Draw(image).rectangle((inset, inset, SIDE - inset, SIDE - inset), outline=(shade,) * 3, width=width)
        return np.asarray(image, float)

    scene.over.append(rule)


def _framed(kind: str) -> Fault:
    def fault(scene: Scene, strength: int) -> None:
        width = ((3, 8, 14) if kind == "double" else (3, 8, 20))[strength - 1]
        colour = np.array({"coloured": (150, 60, 30)}.get(kind, (25, 25, 25)), float)
        rows, columns = np.mgrid[:SIDE, :SIDE]
        distance = np.minimum(np.minimum(rows, SIDE - 1 - rows), np.minimum(columns, SIDE - 1 - columns))
        if kind == "one side":
            side = int(scene.rng.integers(4))
            distance = (rows, SIDE - 1 - rows, columns, SIDE - 1 - columns)[side]
        elif kind == "rounded":
            radius = 50
            corner_rows = np.minimum(rows, SIDE - 1 - rows)
            corner_columns = np.minimum(columns, SIDE - 1 - columns)
            inner = np.hypot(np.maximum(0, radius - corner_rows), np.maximum(0, radius - corner_columns))
            distance = np.minimum(distance, radius - inner)
        mask = distance < width
        if kind == "double":
            mask |= (distance >= 2 * width) & (distance < 3 * width)

        scene.over.append(lambda sheet: np.where(mask[..., None], colour, sheet))

    return fault


def _desk(scene: Scene, strength: int) -> None:
    """The sheet lies, a little turned, on a dark or wooden desk."""
    desk = np.array([(60, 50, 45), (130, 90, 60), (20, 20, 25)][int(scene.rng.integers(3))], float)
    inset = (15, 30, 45)[strength - 1]
    tilt = float(scene.rng.uniform(-0.06, 0.06))
    rows, columns = np.mgrid[:SIDE, :SIDE] - SIDE / 2
    across, down = columns + tilt * rows, rows - tilt * columns
    outside = np.maximum(np.abs(across), np.abs(down)) > SIDE / 2 - inset
    grain = scene.rng.normal(0, 4, (SIDE, 1, 1))
    scene.over.append(lambda sheet: np.where(outside[..., None], desk + grain, sheet))


def _letterboxed(scene: Scene, strength: int) -> None:
    bar = (15, 30, 40)[strength - 1]
    across = bool(scene.rng.integers(2))

    def cover(sheet: Floats) -> Floats:
        sheet = sheet.copy()
        view = sheet if across else sheet.swapaxes(0, 1)
        view[:bar], view[-bar:] = 0, 0
        return sheet

    scene.over.append(cover)


def _crop_marks(scene: Scene, strength: int) -> None:
    length, width = (18, 26, 34)[strength - 1], (1, 2, 3)[strength - 1]

    def mark(sheet: Floats) -> Floats:
        sheet = sheet.copy()
        for rows in (slice(8, 8 + width), slice(SIDE - 8 - width, SIDE - 8)):
            sheet[rows, 8 : 8 + length], sheet[rows, SIDE - 8 - length : SIDE - 8] = 20, 20
            sheet[8 : 8 + length, rows], sheet[SIDE - 8 - length : SIDE - 8, rows] = 20, 20
        return sheet

    scene.over.append(mark)


def _at_the_border(share: Sequence[float]) -> Fault:
    """Move the digit so that it touches one side of the sheet, or loses a share of its size there."""

    def fault(scene: Scene, strength: int) -> None:
        axis, is_last = divmod(int(scene.rng.integers(4)), 2)
        lines = np.flatnonzero((scene.ink > 0.5).any(axis=1 - axis))
        lost = round(share[strength - 1] * (lines[-1] - lines[0]))
        ink = scene.ink.swapaxes(0, axis)
        if is_last:
            moved = np.pad(ink[: lines[-1] + 1 - lost], ((SIDE - 1 - int(lines[-1]) + lost, 0), (0, 0)))
        else:
            moved = np.pad(ink[lines[0] + lost :], ((0, int(lines[0]) + lost), (0, 0)))
        scene.ink = moved.swapaxes(0, axis)

    return fault


def _light(kind: str) -> Fault:
    def fault(scene: Scene, strength: int) -> None:
        rows, columns = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
        angle = scene.rng.uniform(0, 2 * np.pi)
        along = np.cos(angle) * columns + np.sin(angle) * rows
        depth = (0.25, 0.4, 0.55)[strength - 1]
        if kind == "shadow":
            soft = np.clip((along - scene.rng.uniform(-0.3, 0.3)) * 40 + 0.5, 0, 1)
            light = 1 - depth * soft
        elif kind == "gradient":
            light = 1 - depth * (along - along.min()) / np.ptp(along)
        elif kind == "vignette":
            light = 1 - depth * (rows**2 + columns**2) / 2
        elif kind == "flash":
            x, y = scene.rng.uniform(-0.6, 0.6, 2)
            light = 1 - depth + depth * np.exp(-((rows - x) ** 2 + (columns - y) ** 2) / 0.3)
        else:
            light = 1 - depth * np.abs(along)

        scene.over.append(lambda sheet: sheet * light[..., None])

    return fault


def _noise(scene: Scene, strength: int) -> None:
    grains = scene.rng.normal(0, (8, 16, 28)[strength - 1], (SIDE, SIDE, 1))
    scene.over.append(lambda sheet: sheet + grains)


def _blur(scene: Scene, strength: int) -> None:
    def blurred(sheet: Floats) -> Floats:
        image = Image.fromarray(np.clip(sheet, 0, 255).astype(np.uint8))
        return np.asarray(image.filter(ImageFilter.GaussianBlur((2, 4, 7)[strength - 1])), float)

    scene.over.append(blurred)


def _jpeg(scene: Scene, strength: int) -> None:
    scene.encoding = {"format": "JPEG", "quality": (40, 20, 10)[strength - 1]}


def _tiny(scene: Scene, strength: int) -> None:
    side = (90, 60, 40)[strength - 1]

    def reduced(sheet: Floats) -> Floats:
        image = Image.fromarray(np.clip(sheet, 0, 255).astype(np.uint8))
        return np.asarray(image.resize((side, side), Image.Resampling.LANCZOS), float)

    scene.over.append(reduced)


def _transparent(scene: Scene, strength: int) -> None:
    scene.transparent = True
    scene.pen = np.array([(0, 0, 0), (40, 60, 160), (255, 255, 255)][strength - 1], float)


def _none(scene: Scene, strength: int) -> None:
    """The plain sheet."""


# In the order in which they happen: hand, pen and paper, sheet, light, camera, file.
FAULTS: Mapping[str, Fault] = {
    "none": _none,
    "rotated": _rotated,
    "slanted": _slanted,
    "thin": _thin,
    "thick": _thick,
    "small": _small,
    "off-centre": _off_centre,
    "blue ink": _colours([(40, 60, 160), (70, 90, 200), (120, 140, 225)]),
    "red ink": _colours([(190, 40, 40), (225, 70, 70), (240, 120, 120)]),
    "pencil": _colours([(110, 110, 110), (150, 150, 150), (190, 190, 190)]),
    "yellowed paper": _colours([(40, 35, 30)] * 3, [(235, 225, 190), (215, 195, 140), (190, 165, 110)]),
    "grey paper": _colours([(30, 30, 30)] * 3, [(200, 200, 200), (160, 160, 160), (120, 120, 120)]),
    "coloured paper": _colours(
        [(30, 30, 60), (150, 30, 40), (200, 60, 60)], [(250, 200, 90), (130, 200, 130), (90, 150, 90)]
    ),
    "chalk": _chalk,
    "screen": _colours([(255, 255, 255), (230, 230, 90), (90, 220, 120)], [(0, 0, 0), (30, 30, 40), (45, 45, 60)]),
    "transparent": _transparent,
    "touching": _at_the_border((0.0, 0.0, 0.0)),
    "cut": _at_the_border((0.04, 0.08, 0.12)),
    "ruled": _lines("lines"),
    "squared": _lines("squares"),
    "dotted": _lines("dots"),
    "box": _box,
    "crop marks": _crop_marks,
    "frame": _framed("all"),
    "coloured frame": _framed("coloured"),
    "one-sided frame": _framed("one side"),
    "rounded frame": _framed("rounded"),
    "double frame": _framed("double"),
    "desk": _desk,
    "shadow": _light("shadow"),
    "gradient": _light("gradient"),
    "vignette": _light("vignette"),
    "flash": _light("flash"),
    "two lamps": _light("two lamps"),
    "blur": _blur,
    "noise": _noise,
    "letterbox": _letterboxed,
    "tiny": _tiny,
    "JPEG": _jpeg,
}
