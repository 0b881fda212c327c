"""Decoding and preprocessing of image files (PNG, JPEG, WebP, BMP): any image becomes 28x28 greyscale pixels.

The ink is bright on black, as in the training data.

The mode `digit` is the procedure of MNIST (http://yann.lecun.com/exdb/mnist/): the ink is scaled with antialiasing to
fit a 20x20 box, and its centre of mass is placed in the middle of the 28x28 field.
"""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageFilter, ImageOps

from serving.errors import InvalidRequestError, ServingError, TooLargeError, UnsupportedMediaError
from serving.images import digit, ink
from serving.images.components import extent
from serving.images.ink import Grey
from serving.images.mode import Mode

Pixel = TypeVar("Pixel", bound=np.generic)

SIDE = 28
BOX = 20
# Larger images are reduced by a whole factor to at most this side, before anything is computed on their pixels.
WORKING_SIDE = 256
# Darker pixels than this are the black of an image in MNIST's form.
NOISE = 24
# Strokes are measured, and thickened if necessary, at this multiple of the final size; there, the median width of
# MNIST's strokes is 10.
FINE_SCALE = 4
MEDIAN_STROKE = 10
# Share of full ink up to which the edge of a stroke is shadow or blur, and from which on it is full.
FAINT = 0.15
# The value that this share of the digit's pixels does not exceed is full ink.
FULL_INK_SHARE = 0.75
# Middle of the field: the centres of mass of MNIST's images are within half a pixel of (14, 14), with indices from 0.
MIDDLE = 14

MAGIC = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"RIFF": "WEBP", b"BM": "BMP"}
FORMATS = "PNG, JPEG, WebP or BMP"
# Transposition that turns an image upright, by its EXIF orientation; 1 is upright already.
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
    """Preprocess an image file to the input of the model, uint8 [28, 28].

    Args:
        data: PNG, JPEG, WebP or BMP file.
        mode: `digit` crops to the ink and centres it; `plain` keeps the frame of the image.
        max_pixels: largest width times height, checked before the pixels are decoded.

    Raises:
        UnsupportedMediaError: the file has another format.
        TooLargeError: the image has more than `max_pixels`.
        InvalidRequestError: the file is damaged, or the image shows nothing.
    """
    colours = _decode(data, max_pixels)
    grey = colours[0]
    if mode == "plain":
        return _plain(grey)
    return grey if _is_in_mnist_form(grey) else _digit(colours)


def count_pixels(data: bytes) -> int:
    """Return width times height of an image file, from its header.

    Raises:
        UnsupportedMediaError, TooLargeError, InvalidRequestError: as `to_model_input`.
    """
    with _opened(data) as image:
        return image.width * image.height


def is_image_file(data: bytes) -> bool:
    """Return whether data begins like a file of a supported format."""
    return data.startswith(tuple(MAGIC))


def _decode(data: bytes, max_pixels: int) -> Grey:
    """Return luminance, and red, green and blue unless the image is grey: uint8 `[1 or 4, height, width]`."""
    with _opened(data) as image:
        if image.width * image.height > max_pixels:
            raise TooLargeError(f"the image has more than {max_pixels} pixels")
        # Decodes a JPEG at a fraction of its size, which is faster and precise enough.
        image.draft("RGB", (WORKING_SIDE, WORKING_SIDE))
        return _colours(_upright(image))


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    image_format = next((name for magic, name in MAGIC.items() if data.startswith(magic)), None)
    if image_format is None:
        raise UnsupportedMediaError(f"this is not a {FORMATS} file")
    try:
        with Image.open(io.BytesIO(data), formats=[image_format]) as image:
            yield image
    except ServingError:
        raise
    except Image.DecompressionBombError as error:
        raise TooLargeError("the image has too many pixels") from error
    except Exception as error:  # the exceptions of decoders have no common base class
        raise InvalidRequestError(f"the {image_format} file is damaged or incomplete") from error


def _upright(image: Image.Image) -> Image.Image:
    """Turn an image upright by its EXIF orientation; return it unchanged if that is missing or invalid.

    ImageOps.exif_transpose is not used, because it rewrites the EXIF data and fails if any of it is invalid.
    """
    image.load()  # EXIF data may come after the pixels
    try:
        transposition = UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # the exceptions of invalid EXIF data have no common base class
        return image
    return image if transposition is None else image.transpose(transposition)


def _colours(image: Image.Image) -> Grey:
    if image.mode.startswith("I"):
        # 16 bits per pixel, which convert("L") would clip.
        pixels = np.asarray(image).astype(np.uint32) >> 8
        image = Image.fromarray(pixels.astype(np.uint8))
    elif image.has_transparency_data:
        image = _on_paper(image.convert("RGBA"))
    factor = -(-max(image.size) // WORKING_SIDE)
    colour = image.mode not in ("L", "1")
    image = image.convert("RGB" if colour else "L")
    if factor > 1:
        image = image.reduce(factor)
    luminance = np.asarray(image.convert("L"))
    if not colour:
        return luminance[None]
    return np.stack([luminance, *np.moveaxis(np.asarray(image), -1, 0)])


def _on_paper(image: Image.Image) -> Image.Image:
    """Put a transparent image on white paper, or on black if what it shows is bright."""
    *bands, alpha = image.split()
    weights = np.asarray(alpha, np.float64)
    shown = sum(float((np.asarray(band) * weights).sum()) for band in bands) / max(3 * weights.sum(), 1)
    transparent = weights.mean() < 128
    paper = Image.new("RGBA", image.size, "black" if transparent and shown > 127 else "white")
    paper.alpha_composite(image)
    return paper.convert("RGB")


def _is_in_mnist_form(grey: Grey) -> bool:
    """Return whether this has the size, box and centre of an MNIST image, so that it needs no preprocessing."""
    if grey.shape != (SIDE, SIDE) or np.median(_border(grey)) > 0 or grey.max() <= NOISE:
        return False
    rows, columns = extent(grey > NOISE)
    is_box = abs(max(rows.stop - rows.start, columns.stop - columns.start) - BOX) <= 2
    return is_box and all(abs(centre - MIDDLE) < 0.75 for centre in _centre_of_mass(grey))


def _digit(colours: Grey) -> Grey:
    strength, mask = digit.locate(ink.both_readings(ink.most_contrasting(colours)))
    inside = np.where(digit.grown(mask, 2), strength, 0)
    values = strength[mask]
    full = np.partition(values, rank := int(FULL_INK_SHARE * (len(values) - 1)))[rank]
    clean = np.clip((inside / full - FAINT) / (1 - 2 * FAINT), 0, 1)
    pixels = np.rint(clean * 255).astype(np.uint8)
    fine = _scaled_to(Image.fromarray(pixels[extent(mask)]), BOX * FINE_SCALE)
    return _centred(_full_range(np.asarray(_scaled_to(_thickened(fine), BOX))))


def _scaled_to(ink: Image.Image, box: int) -> Image.Image:
    scale = box / max(ink.size)
    width, height = (max(1, round(size * scale)) for size in ink.size)
    return ink.resize((width, height), Image.Resampling.LANCZOS)


def _thickened(fine: Image.Image) -> Image.Image:
    """Widen thin strokes to the median width of MNIST; they would vanish when scaled down."""
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
