"""What people send to have classified: a picture, or several in JSON, as files, as base64, or as raw pixels."""

import base64
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson

from serving.errors import InvalidRequestError, ServingError, TooLargeError, UnsupportedMediaError
from serving.images.preprocessing import KINDS, SIDE, Grey, Mode, count_pixels, is_image_file, to_model_input

DATA_URL = b"data:image/"

# A file, or what needs no preprocessing.
ImagePayload = bytes | Grey


def parse_images(body: bytes, media: str, max_rows: int) -> tuple[list[ImagePayload], bool]:
    """Return the pictures in a body, and whether they came as a list: `{"images": ["<base64>", "data:image/..."]}`.

    Raises:
        InvalidRequestError: says what is not as it should be.
        UnsupportedMediaError: the body is a form.
    """
    if not body:
        raise InvalidRequestError(f"the body is empty, send a {KINDS}, or {SIDE * SIDE} raw bytes")
    if media.startswith("multipart/"):
        raise UnsupportedMediaError("send the image itself as the body, no form: curl --data-binary @digit.png")
    if body.startswith(DATA_URL):
        return [_unpacked(body)], False
    # A list may have as many bytes as an image has pixels; no image begins with `{` and ends with `}` but by chance.
    if body.startswith(b"{") and (len(body) != SIDE * SIDE or body.rstrip().endswith(b"}")):
        return _listed(body, max_rows), True
    return [_file_or_pixels(body)], False


def to_model_inputs(pictures: Sequence[ImagePayload], *, mode: Mode, max_pixels: int) -> npt.NDArray[np.uint8]:
    """Return pictures as the model sees them, uint8 [n, 28, 28].

    Raises:
        ServingError: as `to_model_input`; `max_pixels` is for all of them together.
    """
    files = [picture for picture in pictures if isinstance(picture, bytes)]
    images = []
    left = max_pixels
    for number, picture in enumerate(pictures):
        with _numbered(number, len(pictures)):
            if isinstance(picture, bytes) and len(files) > 1:
                left -= count_pixels(picture)
                if left < 0:
                    raise TooLargeError(f"the images up to this one have more than {max_pixels} pixels")
            images.append(
                to_model_input(picture, mode=mode, max_pixels=max_pixels) if isinstance(picture, bytes) else picture
            )
    return np.stack(images)


def _listed(body: bytes, max_rows: int) -> list[ImagePayload]:
    try:
        tree: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"the body is not valid JSON: {error.msg} (at character {error.pos})") from None
    texts = tree.get("images")
    if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
        raise InvalidRequestError("images has to be a list of pictures, each as base64 or as a base64 data URL")
    if len(texts) > max_rows:
        raise InvalidRequestError(f"at most {max_rows} images go into one request")
    pictures = []
    for number, text in enumerate(texts):
        with _numbered(number, len(texts)):
            pictures.append(_from_text(text.encode()))
    return pictures


def _from_text(text: bytes) -> ImagePayload:
    return _unpacked(text) if text.startswith(DATA_URL) else _file_or_pixels(_from_base64(text))


def _unpacked(url: bytes) -> bytes:
    """Return what a base64 data URL (RFC 2397) of an image holds."""
    kind, _, content = url.partition(b",")
    if not kind.endswith(b";base64"):
        raise InvalidRequestError("this data URL holds no base64")
    return _from_base64(content)


def _from_base64(text: bytes) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        raise InvalidRequestError("this is no base64") from None


def _file_or_pixels(content: bytes) -> ImagePayload:
    is_raw = len(content) == SIDE * SIDE and not is_image_file(content)
    return np.frombuffer(content, np.uint8).reshape(SIDE, SIDE) if is_raw else content


@contextmanager
def _numbered(number: int, count: int) -> Iterator[None]:
    """Say of which image an error speaks, when there are several."""
    try:
        yield
    except ServingError as error:
        if count == 1:
            raise
        raise type(error)(f"image {number}: {error}") from error
