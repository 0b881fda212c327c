"""Body of `POST /predict`: one image, or several in JSON, as files, base64 or raw pixels."""

import base64
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import orjson

from serving.errors import InvalidRequestError, ServingError, TooLargeError, UnsupportedMediaError
from serving.images.decoding import FORMATS, count_pixels, is_image_file
from serving.images.mnist_form import SIDE
from serving.images.preprocessing import ImagePayload

DATA_URL = b"data:image/"

Result = TypeVar("Result")


def parse_images(body: bytes, media_type: str, max_rows: int) -> tuple[list[ImagePayload], bool]:
    """Parse the images in a request body: one image, or `{"images": ["<base64>", "data:image/...", ...]}`.

    Args:
        body: of the request.
        media_type: of the body.
        max_rows: largest number of images.

    Returns:
        The images, and whether the body had a list of them.

    Raises:
        InvalidRequestError: the body is empty, or it is not a valid list of images.
        UnsupportedMediaError: the body is a form.
    """
    if not body:
        raise InvalidRequestError(f"the body is empty: send a {FORMATS} file, or {SIDE * SIDE} bytes of pixels")
    if media_type.startswith("multipart/"):
        raise UnsupportedMediaError("send the image itself as the body, not a form: curl --data-binary @digit.png")
    if body.startswith(DATA_URL):
        return [_decode_data_url(body)], False
    # Raw pixels could begin with `{` too, but are most unlikely to end with `}`.
    if body.startswith(b"{") and (len(body) != SIDE * SIDE or body.rstrip().endswith(b"}")):
        return _parse_list(body, max_rows), True
    return [_file_or_pixels(body)], False


def convert_each(
    images: Sequence[ImagePayload], convert: Callable[[ImagePayload], Result], max_pixels: int
) -> Iterator[Result]:
    """Convert images one after another.

    Args:
        images: image files or pixels.
        convert: an image.
        max_pixels: largest total width times height of the image files.

    Raises:
        TooLargeError: they have more pixels.
        ServingError: from `convert`, with the number of the image if there are several.
    """
    file_count = sum(isinstance(image, bytes) for image in images)
    remaining = max_pixels
    for number, image in enumerate(images):
        with _numbered(number, len(images)):
            if isinstance(image, bytes) and file_count > 1:
                remaining -= count_pixels(image)
                if remaining < 0:
                    raise TooLargeError(f"the images up to this one have more than {max_pixels} pixels in total")
            result = convert(image)
        yield result


def _parse_list(body: bytes, max_rows: int) -> list[ImagePayload]:
    try:
        tree: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"the body is not valid JSON: {error.msg} (at character {error.pos})") from None
    texts = tree.get("images")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise InvalidRequestError("images must be a list of images, each as base64 or as a base64 data URL")
    if len(texts) > max_rows:
        raise InvalidRequestError(f"a request may have at most {max_rows} images")
    images = []
    for number, text in enumerate(texts):
        with _numbered(number, len(texts)):
            images.append(_from_text(text.encode()))
    return images


def _from_text(text: bytes) -> ImagePayload:
    return _decode_data_url(text) if text.startswith(DATA_URL) else _file_or_pixels(_decode_base64(text))


def _decode_data_url(url: bytes) -> bytes:
    """Return the content of a base64 data URL (RFC 2397)."""
    kind, _, content = url.partition(b",")
    if not kind.endswith(b";base64"):
        raise InvalidRequestError("this data URL is not base64")
    return _decode_base64(content)


def _decode_base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise InvalidRequestError("this is not base64") from None


def _file_or_pixels(content: bytes) -> ImagePayload:
    is_raw = len(content) == SIDE * SIDE and not is_image_file(content)
    return np.frombuffer(content, np.uint8).reshape(SIDE, SIDE) if is_raw else content


@contextmanager
def _numbered(number: int, count: int) -> Iterator[None]:
    """Add the number of the image to errors, if there are several images."""
    try:
        yield
    except ServingError as error:
        if count == 1:
            raise
        raise type(error)(f"image {number}: {error}") from error
