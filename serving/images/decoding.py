"""Decoding of image files (PNG, JPEG, WebP, BMP, GIF): upright by their EXIF data, opaque, and downsampled."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image

from serving.errors import InvalidRequestError, ServingError, TooLargeError, UnsupportedMediaError
from serving.images.ink import Grey

MAGIC = {b"\x89PNG\r\n\x1a\n": "PNG", b"\xff\xd8\xff": "JPEG", b"RIFF": "WEBP", b"BM": "BMP", b"GIF8": "GIF"}
FORMATS = "PNG, JPEG, WebP, BMP or GIF"
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
LYING = (5, 6, 7, 8)  # orientations that exchange width and height


@dataclass(frozen=True)
class Picture:
    """A decoded image, upright and reduced.

    Attributes:
        luminance: `[height, width]`.
        colours: red, green and blue, `[height, width, 3]`; `[height, width, 0]` if the image is grey.
        width, height: of the whole image, upright.
    """

    luminance: Grey
    colours: Grey
    width: int
    height: int


Region = tuple[float, float, float, float]  # left, top, right and bottom, as shares of the width and height


def decode(data: bytes, *, max_pixels: int, max_side: int, region: Region | None = None) -> Picture:
    """Decode an image file, reduced by a whole factor to at most `max_side` pixels along its larger side.

    Args:
        data: PNG, JPEG, WebP, BMP or GIF file.
        max_pixels: largest width times height, checked before the pixels are decoded.
        max_side: of the result, if the image is not cropped.
        region: of the upright image that the result is cropped to; the whole image is then reduced to at least half of
            `max_side`.

    Raises:
        UnsupportedMediaError: the file has another format.
        TooLargeError: the image has more than `max_pixels`.
        InvalidRequestError: the file is damaged.
    """
    with _opened(data) as image:
        size = image.size
        if image.width * image.height > max_pixels:
            raise TooLargeError(f"the image has more than {max_pixels} pixels")
        # Decodes a JPEG at a fraction of its size, which is faster and precise enough.
        least = max_side if region is None else max_side // 2
        image.draft("RGB", (least, least))
        image.load()  # EXIF data may come after the pixels
        orientation = _orientation(image)
        upright = image.transpose(UPRIGHT[orientation]) if orientation in UPRIGHT else image
        factor = -(-max(upright.size) // max_side)
        shown = upright if region is None else _cropped(upright, region)
        return Picture(*_planes(shown, factor), *(size[::-1] if orientation in LYING else size))


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


def _orientation(image: Image.Image) -> int:
    """Return the EXIF orientation of an image; 1, which is upright, if that is missing or invalid.

    ImageOps.exif_transpose is not used, because it rewrites the EXIF data and fails if any of it is invalid.
    """
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # the exceptions of invalid EXIF data have no common base class
        return 1


def _cropped(image: Image.Image, region: Region) -> Image.Image:
    left, top, right, bottom = (round(share * side) for share, side in zip(region, 2 * image.size, strict=True))
    return image.crop((left, top, max(right, left + 1), max(bottom, top + 1)))


def _planes(image: Image.Image, factor: int) -> tuple[Grey, Grey]:
    """Return luminance and colours of an image, reduced by a whole factor."""
    if image.mode.startswith("I"):
        # 16 bits per pixel, which convert("L") would clip.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    mode = _reducible_mode(image)
    if image.mode != mode:
        image = image.convert(mode)
    if factor > 1:
        image = image.reduce(factor)
    if mode.endswith("A"):
        image = _on_paper(image.convert("RGBA"))
    luminance: Grey = np.asarray(image.convert("L"))
    colours: Grey = np.empty((*luminance.shape, 0), np.uint8) if image.mode == "L" else np.asarray(image)
    return luminance, colours


def _reducible_mode(image: Image.Image) -> str:
    """Return the mode, with 8 bits a channel, in which an image is reduced.

    Files without an alpha channel may name one of their colours transparent. That is the colour of the paper, which no
    ink has: it stays as it is.
    """
    if image.mode in ("1", "L"):
        return "L"
    if image.mode == "P":
        return "RGBA" if image.has_transparency_data else "RGB"
    return image.mode if image.mode in ("LA", "RGBA") else "RGB"


def _on_paper(image: Image.Image) -> Image.Image:
    """Put a transparent image on white paper, or on black if what it shows is bright."""
    *bands, alpha = image.split()
    weights = np.asarray(alpha, np.float64)
    shown = sum(float((np.asarray(band) * weights).sum()) for band in bands) / max(3 * weights.sum(), 1)
    transparent = weights.mean() < 128
    paper = Image.new("RGBA", image.size, "black" if transparent and shown > 127 else "white")
    paper.alpha_composite(image)
    return paper.convert("RGB")


def count_pixels(data: bytes) -> int:
    """Return width times height of an image file, from its header.

    Raises:
        UnsupportedMediaError, TooLargeError, InvalidRequestError: as `decode`.
    """
    with _opened(data) as image:
        return image.width * image.height


def is_image_file(data: bytes) -> bool:
    """Return whether data begins like a file of a supported format."""
    return data.startswith(tuple(MAGIC))
