"""Polarity of an image: fat strokes, frames, loops and sheets, each in black on white and the reverse."""

import image_faults
import numpy as np
import pytest
import serving_kit as kit
import strokes
from PIL import Image, ImageDraw

from serving.images import polarity
from serving.images.digit import one_digit

SIDE = image_faults.SIDE
PAPER, INK = 240, 30


def of_strokes(digit, width):
    """Return a sheet with a digit of strokes of this width, a share of its side."""
    return PAPER - (PAPER - INK) * strokes.ink(strokes.Hand(size=0.5).write(strokes.SHAPES[digit][0]), SIDE, width)


def of_dataset():
    """Return a sheet with a 7 whose strokes are nearly as wide as they are long."""
    images, labels = kit.digits()
    ink = image_faults.from_outline(images[np.flatnonzero(labels == 7)[0]])
    return PAPER - (PAPER - INK) * ink


def around(sheet, shape):
    """Return a sheet of which only what is inside a shape is seen."""
    seen = Image.new("1", (SIDE, SIDE))
    getattr(ImageDraw.Draw(seen), shape)((12, 12, SIDE - 12, SIDE - 12), fill=1)
    return np.where(np.asarray(seen), sheet, INK)


def cropped(sheet):
    rows, columns = (np.flatnonzero((sheet < 128).any(axis=axis)) for axis in (1, 0))
    return sheet[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def underlined(sheet):
    sheet = sheet.copy()
    sheet[-30:-26, 20:-20] = INK
    return sheet


SHEETS = {
    "thin": lambda: of_strokes("2", 0.01),
    "thick": lambda: of_strokes("2", 0.1),
    "fat": of_dataset,
    "loop": lambda: of_strokes("0", 0.12),
    "two loops": lambda: of_strokes("8", 0.1),
    "framed": lambda: around(of_dataset(), "rectangle"),
    "fat, on a disc": lambda: around(of_dataset(), "ellipse"),
    "on a disc": lambda: around(of_strokes("4", 0.04), "ellipse"),
    "cropped": lambda: cropped(of_strokes("3", 0.06)),
    "loops, cropped": lambda: cropped(of_strokes("8", 0.06)),
    "underlined": lambda: underlined(of_strokes("6", 0.05)),
}


@pytest.mark.parametrize("sheet", SHEETS.values(), ids=SHEETS)
def test_strokes_are_ink(sheet):
    grey = np.rint(sheet()).astype(np.uint8)

    assert polarity.find(grey, one_digit).is_paper_bright
    assert not polarity.find(~grey, one_digit).is_paper_bright
