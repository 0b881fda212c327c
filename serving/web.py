"""What every HTTP door needs: bodies read within limits, answers in JSON, errors as statuses."""

import asyncio
import logging
import zlib
from collections.abc import Mapping
from typing import Any

import orjson
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from serving.errors import (
    BodyTimeoutError,
    InferenceFailedError,
    InvalidRequestError,
    NotReadyError,
    ServingError,
    TooLargeError,
    UnknownModelError,
    UnsupportedMediaError,
)

log = logging.getLogger(__name__)

STATUS: Mapping[type[ServingError], int] = {
    InvalidRequestError: 400,
    UnknownModelError: 404,
    BodyTimeoutError: 408,
    TooLargeError: 413,
    UnsupportedMediaError: 415,
    InferenceFailedError: 500,
    NotReadyError: 503,
}
IDENTITY = "identity"
WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
# The server joins what arrives together, so an honest body of the largest size takes far fewer pieces.
MAX_PIECES = 16_384


def json_response(value: Any, status: int = 200) -> Response:
    """Return an answer in JSON; numpy arrays are written as lists."""
    content = orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(content, status, media_type="application/json")


async def read_body(request: Request, max_bytes: int, seconds: float) -> bytes:
    """Return the whole body.

    Raises:
        TooLargeError: it is larger than `max_bytes` or comes in too many pieces; the rest is not kept.
        BodyTimeoutError: it did not arrive within `seconds`.
        InvalidRequestError: the client went away, or it is not compressed as it says.
        UnsupportedMediaError: it is compressed otherwise than by gzip or deflate.
    """
    encoding = request.headers.get("content-encoding", IDENTITY).strip().lower()
    if encoding != IDENTITY and encoding not in WINDOW_BITS:
        raise UnsupportedMediaError("a body may be compressed by gzip or deflate")
    length = request.headers.get("content-length", "0")
    if length.isdecimal() and int(length) > max_bytes:
        raise TooLargeError(f"the body is larger than {max_bytes} bytes")
    try:
        async with asyncio.timeout(seconds):
            body = await _collected(request, max_bytes)
    except TimeoutError:
        raise BodyTimeoutError(f"the body did not arrive within {seconds:g} seconds") from None
    return body if encoding == IDENTITY else await asyncio.to_thread(_inflated, body, encoding, max_bytes)


async def _collected(request: Request, max_bytes: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise InvalidRequestError("the client went away before the body was complete")
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > max_bytes or len(pieces) > MAX_PIECES:
            raise TooLargeError(f"the body is larger than {max_bytes} bytes, or in more than {MAX_PIECES} pieces")
        more = message.get("more_body", False)
    return b"".join(pieces)


def _inflated(body: bytes, encoding: str, max_bytes: int) -> bytes:
    inflater = zlib.decompressobj(WINDOW_BITS[encoding])
    try:
        content = inflater.decompress(body, max_bytes + 1)
    except zlib.error:
        raise InvalidRequestError(f"the body is not valid {encoding}") from None
    if len(content) > max_bytes:
        raise TooLargeError(f"the body is larger than {max_bytes} bytes once inflated")
    if not inflater.eof or inflater.unused_data:
        raise InvalidRequestError(f"the body is not valid {encoding}")
    return content


async def answer_serving_error(_: Request, error: Exception) -> Response:
    """Turn an expected failure into its status and `{"error": ...}`."""
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)
    if status == 500:
        log.error("%s", error, exc_info=error)
    return json_response({"error": str(error)}, status)


async def answer_http_error(_: Request, error: Exception) -> Response:
    """Turn routing failures, such as 404 and 405, into `{"error": ...}`."""
    if not isinstance(error, HTTPException):
        raise error
    response = json_response({"error": error.detail}, error.status_code)
    response.headers.update(error.headers or {})
    return response


async def answer_unexpected(_: Request, __: Exception) -> Response:
    """Answer what should not happen; the traceback goes to the log only."""
    return json_response({"error": "internal error"}, 500)
