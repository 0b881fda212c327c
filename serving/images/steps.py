"""Steps of the preprocessing as PNG images: what was taken for paper, for ink and for the digit, and the input."""

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from serving.images.components import bounding_slices
from serving.images.ink import Grey
from serving.images.preprocessing import Handwriting, Reading

# How bright the image is behind the digit and its box, and how bright the box is.
BEHIND = 0.35
OUTLINE = 170
# Of zlib: pictures are sent once, and higher levels take longer than they save.
PNG_LEVEL = 1


@dataclass(frozen=True)
class Step:
    """A step of the preprocessing.

    Attributes:
        name: of the step.
        description: what the picture shows.
        picture: grey, `[height, width]`.
    """

    name: str
    description: str
    picture: Grey

    @property
    def data_url(self) -> str:
        """The picture as a PNG in a data URL (RFC 2397)."""
        content = io.BytesIO()
        Image.fromarray(self.picture).save(content, "PNG", compress_level=PNG_LEVEL)
        return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode()


def draw(reading: Reading) -> list[Step]:
    """Return the steps from the image to the input of the model; the first and last only if it was used as it is."""
    inputs = Step("input", "the input of the model, 28 x 28 pixels", reading.input)
    return [*draw_handwriting(reading.grey, reading.handwriting), inputs]


def draw_handwriting(grey: Grey, found: Handwriting | None) -> Iterator[Step]:
    """Yield the steps up to the handwriting: image, background, ink, and the ink that is read.

    Args:
        grey: the image, upright, grey and downsampled, `[height, width]`.
        found: the handwriting on it; None if the image was used as it is.
    """
    if found is None:
        yield Step("image", "the image, which was used without changes", grey)
        return
    yield Step("image", "the image, upright, grey, and reduced if it was large", grey)
    yield Step("background", "the detected background behind the ink", found.ink_map.paper)
    yield Step("ink", "difference from the background", np.rint(found.ink_map.ink * 255).astype(np.uint8))
    behind = np.rint(found.ink_map.ink * (255 * BEHIND)).astype(np.uint8)
    boxed = Image.fromarray(np.maximum(found.pixels, behind))
    rows, columns = bounding_slices(found.mask)
    ImageDraw.Draw(boxed).rectangle((columns.start - 1, rows.start - 1, columns.stop, rows.stop), outline=OUTLINE)
    yield Step("digit", "the digit in its box; ink that is shown darker is ignored", np.asarray(boxed))
