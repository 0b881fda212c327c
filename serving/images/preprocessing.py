"""Preprocessing of image files: any image becomes the input of the model, 28x28 grey pixels.

The ink is bright on black, as in the training data. The mode `digit` crops to the ink and normalizes it to MNIST's
format; the mode `plain` keeps the frame of the image.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from serving.errors import NoInkError
from serving.images import digit, ink, morphology, polarity, text_lines
from serving.images.components import Box, Mask, border, bounding_slices
from serving.images.decoding import Picture, decode
from serving.images.ink import Grey, InkMap
from serving.images.mnist_form import SIDE, is_mnist_form, to_mnist_form
from serving.images.mode import Mode

# Larger images are reduced by a whole factor to at most this side, before anything is computed on their pixels.
WORKING_SIDE = 256
# A digit that is smaller than this on a reduced image is read again from its part of the file, which is decoded so that
# the digit has about this size. Around it is a margin, a share of its size. What is smaller still is a speck.
SMALL_SIZE = 32
CLEAR_SIZE = 64
SPECK_SIZE = 5
MARGIN_SHARE = 0.5
# Share of full ink up to which the edge of a stroke is shadow or blur, and from which on it is full.
FAINT = 0.15
# The value that this share of the digit's pixels does not exceed is full ink.
FULL_INK_SHARE = 0.75


# An image file, or pixels that need no preprocessing: uint8 [28, 28].
ImagePayload = bytes | Grey


@dataclass(frozen=True)
class Handwriting:
    """What is written on an image.

    Attributes:
        ink_map: of the image.
        mask: the pixels of the handwriting, `[height, width]`.
        pixels: its ink without anything else, uint8 `[height, width]`.
    """

    ink_map: InkMap
    mask: Mask
    pixels: Grey


@dataclass(frozen=True)
class Reading:
    """How an image was read.

    Attributes:
        grey: the image, upright, grey and downsampled, `[height, width]`.
        width, height: of the whole image, upright.
        handwriting: found on it; None if the image was used as it is.
        input: of the model, uint8 [28, 28].
    """

    grey: Grey
    width: int
    height: int
    handwriting: Handwriting | None
    input: Grey

    @property
    def shows_several(self) -> bool:
        """Whether there are more digits than the one that was read; False if the image was used as it is."""
        found = self.handwriting
        return found is not None and text_lines.shows_several(found.ink_map.ink, found.mask)

    @property
    def box(self) -> Box:
        """Box of the digit in the whole image; all of that if it was used as it is."""
        if self.handwriting is None:
            return Box(0, 0, self.width, self.height)
        height, width = self.grey.shape
        return Box.scaled(*bounding_slices(self.handwriting.mask), self.width / width, self.height / height)


def to_model_input(data: bytes, *, mode: Mode = "digit", max_pixels: int = 16_000_000) -> Grey:
    """Preprocess an image file to the input of the model, uint8 [28, 28].

    Args:
        data: PNG, JPEG, WebP, BMP or GIF file.
        mode: `digit` crops to the ink and centres it; `plain` keeps the frame of the image.
        max_pixels: largest width times height, checked before the pixels are decoded.

    Raises:
        UnsupportedMediaError: the file has another format.
        TooLargeError: the image has more than `max_pixels`.
        InvalidRequestError: the file is damaged, or the image shows nothing.
    """
    return read(data, mode=mode, max_pixels=max_pixels).input


def read(image: ImagePayload, *, mode: Mode, max_pixels: int) -> Reading:
    """Preprocess an image as `to_model_input`, and return how that was done. Pixels are used as they are."""
    if not isinstance(image, bytes):
        return Reading(image, SIDE, SIDE, None, image)
    picture = decode(image, max_pixels=max_pixels, max_side=WORKING_SIDE)
    if mode == "plain":
        return _used_whole(picture, _plain(picture.luminance))
    if is_mnist_form(picture.luminance):
        return _used_whole(picture, picture.luminance)
    grey = ink.most_contrasting(picture.luminance, picture.colours)
    found = _find_digit(grey)
    clear = _enlarged(image, picture, found, max_pixels) or found
    pixels = to_mnist_form(clear.pixels[bounding_slices(clear.mask)])
    return Reading(grey, picture.width, picture.height, found, pixels)


def _enlarged(data: bytes, picture: Picture, found: Handwriting, max_pixels: int) -> Handwriting | None:
    """Return a digit with more of its pixels, if it is small on an image that was reduced; None otherwise.

    Args:
        data: the image file.
        picture: decoded from it.
        found: the digit on the picture.
        max_pixels: largest width times height.
    """
    height, width = found.mask.shape
    rows, columns = bounding_slices(found.mask)
    size = max(rows.stop - rows.start, columns.stop - columns.start)
    side = min(max(height, width) * CLEAR_SIZE // size, max(picture.width, picture.height))
    if not SPECK_SIZE <= size < SMALL_SIZE or side < 2 * max(height, width):
        return None
    margin = MARGIN_SHARE * size
    region = (
        max(0, columns.start - margin) / width,
        max(0, rows.start - margin) / height,
        min(width, columns.stop + margin) / width,
        min(height, rows.stop + margin) / height,
    )
    crop = decode(data, max_pixels=max_pixels, max_side=side, region=region)
    try:
        return _find_digit(ink.most_contrasting(crop.luminance, crop.colours))
    except NoInkError:
        return None


def find_handwriting(grey: Grey, choose: digit.Choice) -> Handwriting:
    """Find the handwriting on an image `[height, width]`.

    Raises:
        InvalidRequestError: there is no ink.
    """
    ink_map = ink.separate_ink(grey, is_paper_bright=polarity.find(grey, choose).is_paper_bright)
    return _cleaned(ink_map, digit.digit_mask(ink_map.ink, choose))


def _find_digit(grey: Grey) -> Handwriting:
    """Find the digit on an image `[height, width]`: on the reduced image, and its strokes there on the image itself."""
    found = polarity.find(grey, digit.one_digit)
    ink_map = ink.separate_ink(grey, is_paper_bright=found.is_paper_bright)
    box = bounding_slices(found.mask, 1)
    near = morphology.dilated(found.mask[box], 1).repeat(found.factor, axis=0).repeat(found.factor, axis=1)
    rows, columns = (slice(part.start * found.factor, None) for part in box)
    nearby = ink_map.ink[rows, columns][: len(near), : near.shape[1]]
    near = near[: len(nearby), : nearby.shape[1]]
    nearby = nearby * near
    if not nearby.any():
        raise NoInkError("no ink found in the image")
    mask = np.zeros(grey.shape, bool)
    mask[rows, columns][: len(near), : near.shape[1]] = digit.without_faint_ink(nearby)
    return _cleaned(ink_map, mask)


def _cleaned(ink_map: InkMap, mask: Mask) -> Handwriting:
    """Return the handwriting of a mask, with all of its ink and nothing else."""
    around = bounding_slices(mask, 2)
    strokes, values = mask[around], ink_map.ink[around]
    near = values * morphology.dilated(strokes, 2)
    values = values[strokes]
    full = np.partition(values, rank := int(FULL_INK_SHARE * (len(values) - 1)))[rank]
    clean = np.clip((near / full - FAINT) / (1 - 2 * FAINT), 0, 1)
    pixels = np.zeros(mask.shape, np.uint8)
    pixels[around] = np.rint(clean * 255)
    return Handwriting(ink_map, mask, pixels)


def _used_whole(picture: Picture, pixels: Grey) -> Reading:
    return Reading(picture.luminance, picture.width, picture.height, None, pixels)


def _plain(grey: Grey) -> Grey:
    if np.median(border(grey)) > 127:
        grey = 255 - grey
    if grey.shape == (SIDE, SIDE):
        return grey
    square = ImageOps.pad(Image.fromarray(grey), (max(grey.shape),) * 2, color=0)
    return np.asarray(square.resize((SIDE, SIDE), Image.Resampling.LANCZOS))
