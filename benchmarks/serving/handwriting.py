"""Handwriting from elsewhere: drawn on the page in Chromium, photographed in many manners, and of Debian's packages.

All ten digits, each in three shapes. On the page a mouse draws them, and what the page then says counts; the pen is as
thick as the page has it, so that large digits have thin strokes and small ones thick strokes. Photographs go through
POST /predict; uneven light comes from all sides in turn. Every 8th of the 5,000 handwritten digits in OpenCV's
documentation, and the digits of fonts made of somebody's handwriting, go through POST /predict too. The model is the
champion of a model repository.

    apt-get install chromium opencv-doc fonts-bwht fonts-breip fonts-dkg-handwriting fonts-humor-sans fonts-klee \
        fonts-rufscript fonts-seto fonts-sjfonts fonts-yusei-magic fonts-femkeklaver
    python benchmarks/serving/handwriting.py --repository var/models
"""

import argparse
import io
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests/support"))
import browsing
import serving_kit as kit
from strokes import Hand, Photo, every_shape

ROOT = Path(__file__).resolve().parents[2]
GOAL = 0.95
ON_THE_PAGE = {
    "as it comes": Hand(),
    "large, with thin strokes": Hand(size=0.95),
    "small, with thick strokes": Hand(size=0.4),
    "thick: gone over again": Hand(size=0.6, again=0.035),
    "off-centre": Hand(size=0.5, centre=(0.3, 0.68)),
    "slanted": Hand(slant=0.3),
    "with a shaking hand": Hand(tremor=0.01),
}
PHOTOGRAPHED = {
    "black on white, PNG": (Hand(), Photo(255, 0, kind="PNG")),
    "white on black, PNG": (Hand(), Photo(0, 255, kind="PNG")),
    "thin pen": (Hand(), Photo(pen=0.02, noise=2)),
    "thick pen": (Hand(), Photo(pen=0.13, noise=2)),
    "small, off-centre": (Hand(size=0.35, centre=(0.32, 0.66)), Photo(pen=0.03, noise=2)),
    "slanted, shaking hand": (Hand(slant=0.3, tremor=0.01), Photo(noise=2)),
    "pencil in poor light": (Hand(), Photo(150, 80, pen=0.04, noise=4, blur=1)),
    "uneven light": (Hand(), Photo(fall=0.3, noise=3, blur=1)),
    "very uneven light": (Hand(size=0.6), Photo(fall=0.55, noise=3, blur=1)),
    "chalk, uneven light": (Hand(), Photo(50, 220, fall=0.4, noise=4, blur=1)),
    "noise and blur": (Hand(), Photo(noise=12, blur=2)),
}

PARTS = ("drawn", "photographed", "packaged")
OPENCV = "usr/share/doc/opencv-doc/examples/data/digits.png"
CELL, EACH = 20, 8  # side of a digit of that sheet, and every which is read
FONT_FOLDERS = ("bwht", "breip", "fifthhorseman", "humor-sans", "klee", "rufscript", "seto", "sjfonts", "yusei-magic")
HOLLOW_FONT_FOLDERS = ("femkeklaver",)
FONT_SIZE, FONT_SHEET = 120, 200


@dataclass
class Count:
    """How many were right, and what was taken for what."""

    right: int = 0
    asked: int = 0
    wrong: str = ""

    def add(self, digit: str, given: str) -> None:
        self.asked += 1
        self.right += digit == given
        self.wrong += "" if digit == given else f" {digit} for a {given},"


def drawn(server: kit.Server) -> Iterator[tuple[str, Count]]:
    """Draw everything on the page, manner by manner."""
    program = browsing.chromium() or sys.exit("no chromium on the PATH. Install it: apt-get install chromium.")
    with browsing.running(program) as browser:
        page = browser.new_page()
        page.goto(server.url)
        page.locator("#bars li").first.wait_for()
        for manner, hand in ON_THE_PAGE.items():
            count = Count()
            for number, (digit, shape) in enumerate(every_shape()):
                page.get_by_role("button", name="Clear").click()
                browsing.draw(page, hand.write(shape, number), steps=1)
                count.add(digit, browsing.verdict(page))
            yield manner, count


def photographed(server: kit.Server) -> Iterator[tuple[str, Count]]:
    """Send a picture of everything, manner by manner."""
    for manner, (hand, photo) in PHOTOGRAPHED.items():
        count = Count()
        for number, (digit, shape) in enumerate(every_shape()):
            answer = server.client.post("/predict", content=photo.take(hand.write(shape, number), number))
            count.add(digit, answer.raise_for_status().json()["class_name"])
        yield manner, count


def packaged(root: Path) -> Callable[[kit.Server], Iterator[tuple[str, Count]]]:
    """Return a function that sends the digits of the packages below a folder."""

    def count(server: kit.Server, digits: Iterator[tuple[str, Image.Image]]) -> Count:
        result = Count()
        for digit, image in digits:
            content = io.BytesIO()
            image.save(content, "PNG")
            answer = server.client.post("/predict", content=content.getvalue()).raise_for_status().json()
            result.add(digit, answer["class_name"] or "nothing")
        return result

    def run(server: kit.Server) -> Iterator[tuple[str, Count]]:
        yield "OpenCV's, as they are", count(server, of_opencv(root))
        large = ((digit, ImageOps.invert(image.resize((160, 160)))) for digit, image in of_opencv(root))
        yield "OpenCV's, on paper", count(server, ((digit, ImageOps.expand(image, 30, 255)) for digit, image in large))
        yield "handwriting fonts", count(server, of_fonts(root, FONT_FOLDERS))
        yield "hollow handwriting font", count(server, of_fonts(root, HOLLOW_FONT_FOLDERS))

    return run


def of_opencv(root: Path) -> Iterator[tuple[str, Image.Image]]:
    """Yield digits of OpenCV's sheet, which has five rows of each; bright on black."""
    sheet = np.asarray(Image.open(root / OPENCV).convert("L"))
    rows, columns = (size // CELL for size in sheet.shape)
    cells = sheet.reshape(rows, CELL, columns, CELL).swapaxes(1, 2).reshape(-1, CELL, CELL)
    for number in range(0, len(cells), EACH):
        yield str(number * 10 // len(cells)), Image.fromarray(cells[number])


def of_fonts(root: Path, folders: tuple[str, ...]) -> Iterator[tuple[str, Image.Image]]:
    """Yield the digits of the fonts in folders of Debian's, black on white."""
    paths = sorted(path for name in folders for path in root.glob(f"usr/share/fonts/*/{name}/*.[ot]tf"))
    for path in paths:
        font = ImageFont.truetype(path, FONT_SIZE)
        for digit in "0123456789":
            sheet = Image.new("L", (FONT_SHEET, FONT_SHEET), 255)
            ImageDraw.Draw(sheet).text((FONT_SHEET / 2,) * 2, digit, fill=0, font=font, anchor="mm")
            if ImageOps.invert(sheet).getbbox():  # not every font has digits
                yield digit, sheet


def main() -> int:
    """Print how many are right, by manner; exit status 1 when they are less than the goal over all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repository", type=Path, default=ROOT / "var/models")
    parser.add_argument("--root", type=Path, default=Path("/"), help="where Debian's packages are installed")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    arguments = parser.parse_args()
    parts = dict(zip(PARTS, (drawn, photographed, packaged(arguments.root)), strict=True))
    total = Count()
    with kit.Server(arguments.repository) as server:
        for part in arguments.parts:
            print(part)
            for manner, count in parts[part](server):
                print(f"  {manner:<28}{count.right:>4} of {count.asked}{count.wrong.rstrip(',')}", flush=True)
                total.right += count.right
                total.asked += count.asked
    print(f"{total.right} of {total.asked} right, {total.right / total.asked:.1%}")
    return int(total.right < GOAL * total.asked)


if __name__ == "__main__":
    sys.exit(main())
