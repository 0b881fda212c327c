"""Unusual images: digits on sheets, screens and photographs of other kinds than the faults of `image_faults`.

Each kind has three strengths, 1 to 3. The same seed gives the same file.
"""

from collections.abc import Callable, Mapping, Sequence

import image_faults
import numpy as np
from image_faults import SIDE, Fault, Floats, Scene
from PIL import Image, ImageDraw, ImageFilter

DARK = 25
TITLE = "Untitled - Paint"


def make(ink: Floats, kind: str, strength: int, seed: int) -> bytes:
    """Return an image file of a digit of this kind."""
    scene = Scene(ink.copy(), np.random.default_rng(seed))
    KINDS[kind](scene, strength)
    return scene.file()


def _clouds(scene: Scene, shape: tuple[int, int], blur: float, deviation: float) -> Floats:
    """Return smooth noise, `[height, width, 1]`."""
    grains = Image.fromarray(scene.rng.integers(0, 256, shape, np.uint8)).filter(ImageFilter.GaussianBlur(blur))
    noise = np.asarray(grains, float)[..., None]
    scaled: Floats = (noise - noise.mean()) / noise.std() * deviation
    return scaled


def _placed(ink: Floats, height: float, shape: tuple[int, int], top: int, left: int) -> Floats:
    """Return a sheet of this shape with the ink at this height in pixels."""
    small = image_faults.resized(ink, height)
    sheet: Floats = np.zeros(shape)
    sheet[top : top + len(small), left : left + small.shape[1]] = small
    return sheet


def _brush(scene: Scene, strength: int) -> None:
    wide = image_faults.grown(scene.ink, (2, 4, 6)[strength - 1])
    uneven = 0.75 + _clouds(scene, (SIDE, SIDE), 5, (0.12, 0.18, 0.25)[strength - 1])[..., 0]
    scene.ink = wide * np.clip(uneven, 0.25, 1)


def _marker(scene: Scene, strength: int) -> None:
    """A marker so fat that its strokes leave little of the loops."""
    scene.ink = image_faults.grown(scene.ink, (12, 14, 17)[strength - 1])


def _outlined(scene: Scene, strength: int) -> None:
    """Hollow strokes, of which only the outline is drawn."""
    wide = image_faults.grown(scene.ink, 6)
    scene.ink = wide - image_faults.grown(wide, -(3, 5, 8)[strength - 1])


def _whiteboard(scene: Scene, strength: int) -> None:
    scene.paper = np.array([200.0, 205, 210]) - 15 * strength
    scene.pen = np.array([(20, 40, 160), (180, 20, 30), (10, 110, 60)][strength - 1], float)
    y, x = scene.rng.uniform(0, SIDE, 2)
    rows, columns = np.mgrid[:SIDE, :SIDE]
    glare = 60 * np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (15 + 15 * strength) ** 2)
    grain = _clouds(scene, (SIDE, SIDE), 0.6, 3)
    scene.over.append(lambda sheet: sheet + glare[..., None] + grain)


def _coloured_margin(scene: Scene, strength: int) -> None:
    colour = scene.rng.choice([(200, 60, 50), (60, 90, 190), (240, 190, 60)])
    _covered(scene, [int(scene.rng.integers(4))], (15, 35, 60)[strength - 1], colour)


def _black_strips(scene: Scene, strength: int) -> None:
    first = int(scene.rng.integers(4))
    _covered(scene, [first, (first + 1) % 4], (6, 18, 40)[strength - 1], (8, 8, 8))


def _covered(scene: Scene, sides: Sequence[int], width: int, colour: Sequence[int]) -> None:
    """Cover sides of the sheet: 0 is the left one, and the others follow clockwise."""

    def cover(sheet: Floats) -> Floats:
        for side in sides:
            turned = np.rot90(sheet, side).copy()
            turned[:, :width] = colour
            sheet = np.rot90(turned, -side)
        return sheet

    scene.over.append(cover)


def _window(scene: Scene, strength: int) -> None:
    """The window of a drawing program with its title."""
    if scene.rng.integers(2):
        scene.paper, scene.pen = np.array([30.0, 30, 34]), np.array([240.0, 240, 240])
    height = (18, 26, 36)[strength - 1]

    def titled(sheet: Floats) -> Floats:
        image = Image.fromarray(np.clip(sheet, 0, 255).astype(np.uint8))
        drawing = ImageDraw.Draw(image)
        drawing.rectangle((0, 0, SIDE, height), fill=(60, 63, 70) if strength < 3 else (45, 110, 200))
        drawing.text((90, height / 2 - 6), TITLE, fill="white")
        return np.asarray(image, float)

    scene.over.append(titled)


def _form(scene: Scene, strength: int) -> None:
    """A cut-out of a form: two of its lines lie near the sides."""
    width, first = (2, 4, 6)[strength - 1], int(scene.rng.integers(4))

    def lined(sheet: Floats) -> Floats:
        for side in (first, first + 1):
            turned = np.rot90(sheet, side).copy()
            turned[:, 5 : 5 + width] = 60
            sheet = np.rot90(turned, -side)
        return sheet

    scene.over.append(lined)


def _underlined(scene: Scene, strength: int) -> None:
    top = min(SIDE - 10, int(np.flatnonzero((scene.ink > 0.5).any(axis=1))[-1]) + (8, 14, 24)[strength - 1])

    def lined(sheet: Floats) -> Floats:
        sheet = sheet.copy()
        sheet[top : top + 4, 20:-20] = 40
        return sheet

    scene.over.append(lined)


def _circled(scene: Scene, strength: int) -> None:
    """A circle around the digit, drawn with the same pen, or one that is finer or wider."""
    scene.ink = _placed(scene.ink, SIDE * 0.4, (SIDE, SIDE), round(SIDE * 0.3), SIDE // 3)
    circle = Image.new("L", (SIDE, SIDE))
    left, top = scene.rng.integers(25, 40, 2).tolist()
    box = (left, top, SIDE - 30, SIDE - 34)
    ImageDraw.Draw(circle).ellipse(box, outline=255, width=(4, 8, 14)[strength - 1])
    scene.ink = np.maximum(scene.ink, np.asarray(circle, float) / 255)


def _wide(scene: Scene, strength: int) -> None:
    shape = (140, (400, 800, 1500)[strength - 1])
    scene.ink = _placed(scene.ink, 100, shape, 20, int(scene.rng.integers(0, 250)))


def _large_sheet(scene: Scene, strength: int) -> None:
    side = (700, 1200, 2000)[strength - 1]
    height = side * (0.12, 0.08, 0.06)[strength - 1]
    top, left = scene.rng.integers(0, round(side - 2 * height), 2)
    scene.ink = _placed(scene.ink, height, (side, side), int(top), int(left))


def _thumbnail(scene: Scene, strength: int) -> None:
    side = (64, 32, 20)[strength - 1]
    if scene.rng.integers(2):
        scene.paper, scene.pen = np.zeros(3), np.full(3, 255.0)

    def reduced(sheet: Floats) -> Floats:
        image = Image.fromarray(np.clip(sheet, 0, 255).astype(np.uint8))
        return np.asarray(image.resize((side, side), Image.Resampling.BOX), float)

    scene.over.append(reduced)


def _fax(scene: Scene, strength: int) -> None:
    grains = scene.rng.normal(0, (30, 50, 70)[strength - 1], (SIDE, SIDE, 1))
    scene.over.append(lambda sheet: np.where(sheet + grains > 127, 255.0, 0.0))


def _photograph(scene: Scene, strength: int) -> None:
    """The sheet lies turned on a table of wood, half of it in the shade."""
    side, angle = 2 * SIDE, float(scene.rng.uniform(-0.12, 0.12))
    table = np.array([120.0, 85, 55]) + _clouds(scene, (side, side), (8, 3, 1)[strength - 1], 18)
    rows, columns = np.mgrid[:side, :side]
    light = 1 - 0.35 * np.clip((rows + columns) / side * 3 - 3, 0, 1)

    def laid(sheet: Floats) -> Floats:
        image = Image.fromarray(np.clip(sheet, 0, 255).astype(np.uint8)).convert("RGBA").resize((420, 420))
        turned = image.rotate(np.degrees(angle), Image.Resampling.BICUBIC, expand=True)
        scenery = Image.fromarray(np.clip(table, 0, 255).astype(np.uint8))
        corner = (side - turned.width) // 2
        scenery.paste(turned, (corner, corner), turned)
        shaded: Floats = np.asarray(scenery, float) * light[..., None]
        return shaded

    scene.over.append(laid)
    scene.encoding = {"format": "JPEG", "quality": 75}


def _envelope(scene: Scene, strength: int) -> None:
    """Brown paper, with a part of the next digit at the side."""
    scene.paper, scene.pen = np.array([196.0, 164, 120]), np.array([50.0, 45, 70])
    scene.ink[90:150, : (6, 12, 18)[strength - 1]] = 1
    fibres = _clouds(scene, (SIDE, SIDE), 1.2, 6) + _clouds(scene, (SIDE, SIDE), 14, 6)
    scene.over.append(lambda sheet: sheet + fibres)


def _cloth(scene: Scene, strength: int) -> None:
    rows, columns = np.mgrid[:SIDE, :SIDE] / (4, 7, 12)[strength - 1]
    pattern = 10 * (np.sin(rows) + np.sin(columns))
    scene.over.append(lambda sheet: sheet - 25 + pattern[..., None])


def _on_a(shape: str) -> Fault:
    """The digit is on a disc or plate, and the rest of the image has another colour."""

    def fault(scene: Scene, strength: int) -> None:
        inset = (8, 20, 32)[strength - 1]
        scene.ink = _placed(scene.ink, SIDE / 2, (SIDE, SIDE), SIDE // 4, SIDE // 3)
        if shape == "rectangle":
            scene.paper, scene.pen = np.array([30.0, 60, 140]), np.full(3, 250.0)
        seen = Image.new("1", (SIDE, SIDE))
        getattr(ImageDraw.Draw(seen), shape)((inset, inset, SIDE - inset, SIDE - inset), fill=1)
        inside = np.asarray(seen)[..., None]
        outside = 245.0 if shape == "rectangle" else float(DARK)
        scene.over.append(lambda sheet: np.where(inside, sheet, outside))

    return fault


KINDS: Mapping[str, Callable[[Scene, int], None]] = {
    "brush": _brush,
    "marker": _marker,
    "outlined": _outlined,
    "whiteboard": _whiteboard,
    "coloured margin": _coloured_margin,
    "black strips": _black_strips,
    "window": _window,
    "form": _form,
    "underlined": _underlined,
    "circled": _circled,
    "wide": _wide,
    "large sheet": _large_sheet,
    "thumbnail": _thumbnail,
    "fax": _fax,
    "photograph": _photograph,
    "envelope": _envelope,
    "cloth": _cloth,
    "disc": _on_a("ellipse"),
    "plate": _on_a("rectangle"),
}
