"""Turns any picture into what the model was trained on: 28x28 grey pixels, bright ink on black.

The digit mode is that of MNIST itself (http://yann.lecun.com/exdb/mnist/): the ink is scaled, antialiased, to fit a
20x20 box and placed in the 28x28 field by its centre of mass.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFilter, ImageOps

from serving.errors import InvalidRequestError, ServingError, TooLargeError, UnsupportedMediaError

Grey = npt.NDArray[np.uint8]
Pixel = TypeVar("Pixel", bound=np.generic)
Mode = Literal["digit", "plain"]

SIDE = 28
BOX = 20
# Larger pictures are halved until they are not, before anything is computed on their pixels.
WORKING_SIDE = 512
# Differences to the background below this are noise of the camera or of JPEG; of faint ink, below a quarter of it.
NOISE = 24
# A difference between opposite sides above this is ink along one of them, unless most of the border lies on a plane:
# closer to it than this share of the difference.
SHADE = 80
GRADUAL = 0.125
# Strokes are measured, and thickened if need be, at this multiple of the final size; there, MNIST's median width is 10.
FINE = 4
MEDIAN_STROKE = 10
# Ink fainter than this share of the darkest is shadow or smear, and does not count for where the digit is.
FAINT = 0.2
# The field's middle in MNIST's own images: their centres of mass lie within half a pixel of (14, 14), counted from 0.
MIDDLE = 14

MAGIC = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"RIFF": "WEBP", b"BM": "BMP"}
KINDS = "PNG, JPEG, WebP or BMP"
# What brings a picture upright, by its EXIF orientation; 1 is upright already.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def to_model_input(data: bytes, *, mode: Mode = "digit", max_pixels: int = 16_000_000) -> Grey:
    """Return a PNG, JPEG, WebP or BMP as the model sees it, uint8 [28, 28].

    Args:
        data: the file.
        mode: `digit` crops to the ink and centres it; `plain` keeps the picture's frame.
        max_pixels: largest width times height, looked at before anything is decoded.

    Raises:
        UnsupportedMediaError: none of these.
        TooLargeError: more than `max_pixels`.
        InvalidRequestError: the file is damaged, or there is nothing on the picture.
    """
    grey = _decode(data, max_pixels)
    if mode == "plain":
        return _plain(grey)
    return grey if _is_in_mnist_form(grey) else _digit(grey)


def count_pixels(data: bytes) -> int:
    """Return width times height of a picture, from the head of the file.

    Raises:
        UnsupportedMediaError, TooLargeError, InvalidRequestError: as `to_model_input`.
    """
    with _opened(data) as image:
        return image.width * image.height


def is_image_file(data: bytes) -> bool:
    """Say whether a file begins as one of the known kinds does."""
    return data.startswith(tuple(MAGIC))


def _decode(data: bytes, max_pixels: int) -> Grey:
    with _opened(data) as image:
        if image.width * image.height > max_pixels:
            raise TooLargeError(f"the image has more than {max_pixels} pixels")
        # JPEG can be decoded at a fraction of its size, which is all that is needed.
        image.draft("L", (WORKING_SIDE, WORKING_SIDE))
        return _grey(_upright(image))


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    kind = next((kind for magic, kind in MAGIC.items() if data.startswith(magic)), None)
    if kind is None:
        raise UnsupportedMediaError(f"the image is no {KINDS}")
    try:
        with Image.open(io.BytesIO(data), formats=[kind]) as image:
            yield image
    except ServingError:
        raise
    except Image.DecompressionBombError as error:
        raise TooLargeError("the image has too many pixels") from error
    except Exception as error:  # what decoders raise on bad bytes shares no base class
        raise InvalidRequestError(f"the {kind} is damaged or incomplete") from error


def _upright(image: Image.Image) -> Image.Image:
    """Return a picture as its camera was held; as it is when its EXIF does not say, or cannot be read.

    ImageOps.exif_transpose would write the EXIF anew, for which all of it has to be sound.
    """
    image.load()  # EXIF may stand behind the pixels
    try:
        transposition = UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # what it raises on bad bytes shares no base class
        return image
    return image if transposition is None else image.transpose(transposition)


def _grey(image: Image.Image) -> Grey:
    if image.mode.startswith("I"):
        # 16 bits a pixel, which converting to 8 would clip.
        pixels = np.asarray(image).astype(np.uint32) >> 8
        image = Image.fromarray(pixels.astype(np.uint8))
    elif image.has_transparency_data:
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image)
        image = paper
    image = image.convert("L")
    factor = -(-max(image.size) // WORKING_SIDE)
    return np.asarray(image.reduce(factor) if factor > 1 else image)


def _is_in_mnist_form(grey: Grey) -> bool:
    """Say whether this is an image of the data set, or made like one: to be taken as it is."""
    if grey.shape != (SIDE, SIDE) or np.median(_border(grey)) > 0 or grey.max() <= NOISE:
        return False
    rows, columns = _extent(grey > NOISE)
    is_box = abs(max(rows.stop - rows.start, columns.stop - columns.start) - BOX) <= 2
    return is_box and all(abs(centre - MIDDLE) < 0.75 for centre in _centre_of_mass(grey))


def _digit(grey: Grey) -> Grey:
    ink = _ink(grey)
    cropped = Image.fromarray(ink[_extent(ink > FAINT * ink.max())])
    fine = _scaled_to(cropped, BOX * FINE)
    return _centred(_full_range(np.asarray(_scaled_to(_thickened(fine), BOX))))


def _ink(grey: Grey) -> Grey:
    """Return what differs from the background, bright on black, over the full range."""
    background = _background(grey)
    difference = grey.astype(np.float32) - background
    if background.min() > NOISE:
        # Ink reflects its share of the light, so it stands out less from paper in the shade.
        difference *= background.max() / background
    contrast = np.abs(difference).max()
    if contrast < NOISE:
        raise InvalidRequestError("no ink found on the image")
    difference[np.abs(difference) < min(NOISE, contrast / 4)] = 0
    darker, lighter = np.maximum(-difference, 0), np.maximum(difference, 0)
    return _full_range(darker if darker.sum() > lighter.sum() else lighter)


def _background(grey: Grey) -> npt.NDArray[np.float32]:
    """Return the border's brightness, as a plane: paper is often darker towards one side.

    Medians, because a stroke may touch the border. One along a whole side is told from deep shade by what lies between
    the sides: shade is gradual there.
    """
    middle = float(np.median(_border(grey)))
    falls = [float(np.median(grey[-1]) - np.median(grey[0])), float(np.median(grey[:, -1]) - np.median(grey[:, 0]))]
    plane = _plane(grey.shape, middle, *falls)
    deepest = max(map(abs, falls))
    if deepest < SHADE or _is_gradual(_border(grey) - _border(plane), deepest * GRADUAL):
        return plane
    return _plane(grey.shape, middle, *(fall if abs(fall) < SHADE else 0 for fall in falls))


def _is_gradual(beside: npt.NDArray[np.float32], tolerance: float) -> bool:
    """Say whether most of a border lies on a plane; through a handful of pixels there is always one."""
    return beside.size > 2 * SIDE and bool(np.quantile(np.abs(beside), 0.75) < tolerance)


def _plane(shape: tuple[int, ...], middle: float, down: float, right: float) -> npt.NDArray[np.float32]:
    rows, columns = (np.linspace(-0.5, 0.5, size, dtype=np.float32) for size in shape)
    return middle + down * rows[:, None] + right * columns[None]


def _scaled_to(ink: Image.Image, box: int) -> Image.Image:
    scale = box / max(ink.size)
    width, height = (max(1, round(size * scale)) for size in ink.size)
    return ink.resize((width, height), Image.Resampling.LANCZOS)


def _thickened(fine: Image.Image) -> Image.Image:
    """Give strokes of a fine pen the width that is usual in MNIST; they would fade away when scaled down."""
    mask = np.pad(np.asarray(fine) > 127, 1)
    inside = mask[1:-1, :-2] & mask[1:-1, 2:] & mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, 1:-1]
    edge = mask.sum() - inside.sum()
    width = 2 * mask.sum() / max(edge, 1)
    growth = max(0, round((MEDIAN_STROKE - width) / 2))
    return fine.filter(ImageFilter.MaxFilter(2 * growth + 1)) if growth else fine


def _plain(grey: Grey) -> Grey:
    if np.median(_border(grey)) > 127:
        grey = 255 - grey
    if grey.shape == (SIDE, SIDE):
        return grey
    square = ImageOps.pad(Image.fromarray(grey), (max(grey.shape),) * 2, color=0)
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def _border(field: npt.NDArray[Pixel]) -> npt.NDArray[Pixel]:
    return np.concatenate((field[0], field[-1], field[1:-1, 0], field[1:-1, -1]))


def _extent(mask: npt.NDArray[np.bool_]) -> tuple[slice, slice]:
    """Return the rows and columns of the smallest box around what is set."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)


def _full_range(values: npt.NDArray[np.generic]) -> Grey:
    floats = values.astype(np.float32)
    stretched: Grey = np.rint(floats * (255 / floats.max())).astype(np.uint8)
    return stretched


def _centre_of_mass(grey: Grey) -> tuple[float, float]:
    weights = grey.astype(np.float64)
    total = weights.sum()
    rows, columns = np.indices(grey.shape)
    return float((rows * weights).sum() / total), float((columns * weights).sum() / total)


def _centred(digit: Grey) -> Grey:
    field = np.zeros((SIDE, SIDE), np.uint8)
    top, left = (
        min(max(round(MIDDLE - centre), 0), SIDE - size)
        for centre, size in zip(_centre_of_mass(digit), digit.shape, strict=True)
    )
    field[top : top + digit.shape[0], left : left + digit.shape[1]] = digit
    return field
