"""HTTP responses: JSON bodies, error bodies with their status codes, compression and encoding."""

import logging
from collections.abc import Mapping
from functools import lru_cache
from http import HTTPStatus
from typing import Any, NamedTuple

import orjson

from serving.errors import (
    BodyTimeoutError,
    ClientGoneError,
    ConflictError,
    DeadlineError,
    ForbiddenError,
    InferenceFailedError,
    InvalidRequestError,
    LogUnavailableError,
    NoInkError,
    NotReadyError,
    OverloadedError,
    ServingError,
    TooLargeError,
    UnauthorizedError,
    UnknownModelError,
    UnknownRequestError,
    UnsupportedMediaError,
)
from serving.http.compression import accepted_encoding, deflate

log = logging.getLogger(__name__)

STATUS: Mapping[type[ServingError], int] = {
    InvalidRequestError: 400,
    NoInkError: 400,
    UnauthorizedError: 401,
    ForbiddenError: 403,
    UnknownModelError: 404,
    UnknownRequestError: 404,
    BodyTimeoutError: 408,
    ConflictError: 409,
    TooLargeError: 413,
    UnsupportedMediaError: 415,
    ClientGoneError: 499,
    InferenceFailedError: 500,
    NotReadyError: 503,
    OverloadedError: 503,
    LogUnavailableError: 503,
    DeadlineError: 504,
}
ERROR_HEADERS: Mapping[type[ServingError], Mapping[str, str]] = {
    OverloadedError: {"retry-after": "1"},
    UnauthorizedError: {"www-authenticate": "Bearer"},
}
STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
# Not in the standard, but what nginx logs for a client that has disconnected.
STATUS_LINES[499] = b"HTTP/1.1 499 Client Closed Request\r\n"
JSON = "application/json"
# Compressing a smaller body takes more time than it saves.
MIN_COMPRESSED_BYTES = 1024


class Response(NamedTuple):
    """A whole HTTP response.

    Attributes:
        body: uncompressed.
        status: HTTP status code.
        media_type: value of Content-Type.
        headers: any others than Content-Type, Content-Length and those that every response has.
    """

    body: bytes
    status: int = 200
    media_type: str = JSON
    headers: Mapping[str, str] | None = None


def json_response(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a value as a JSON response; numpy arrays become lists."""
    return Response(orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY), status, JSON, headers)


def error_response(status: int, text: str, headers: Mapping[str, str] | None = None) -> Response:
    """Return an error in the form of the Open Inference Protocol, which every endpoint uses."""
    return json_response({"error": text}, status, headers)


def exception_response(error: Exception) -> Response:
    """Return the response to an exception of a handler. Unexpected exceptions are logged, and their text is hidden."""
    if not isinstance(error, ServingError):
        log.error("unexpected error while handling a request", exc_info=error)
        return error_response(500, "internal error")
    status = next((status for kind, status in STATUS.items() if isinstance(error, kind)), 500)
    if status == 500:
        log.error("%s", error, exc_info=error)
    headers = next((headers for kind, headers in ERROR_HEADERS.items() if isinstance(error, kind)), None)
    return error_response(status, str(error), headers)


def compress(response: Response, accept_encoding: str) -> Response:
    """Return the response in an encoding that the client accepts, with the headers that tell caches so."""
    headers = dict(response.headers or {})
    headers["vary"] = ", ".join(filter(None, (headers.get("vary"), "accept-encoding")))
    encoding = accepted_encoding(accept_encoding)
    if encoding is None:
        return response._replace(headers=headers)
    return response._replace(body=deflate(response.body, encoding), headers={**headers, "content-encoding": encoding})


def encode_response(
    response: Response,
    request_id: str,
    default_headers: tuple[tuple[bytes, bytes], ...],
    *,
    keep_alive: bool,
    has_body: bool,
) -> bytes:
    """Return the bytes of an HTTP/1.1 response.

    Args:
        response: with its body, whose length is announced in any case.
        request_id: sent as X-Request-Id.
        default_headers: such as Date; names and values.
        keep_alive: whether the connection stays open.
        has_body: whether the body is sent; False for HEAD.
    """
    return b"%b%bx-request-id: %b\r\n%bcontent-length: %d\r\n\r\n%b" % (
        _status_and_default_headers(response.status, response.media_type, default_headers),
        b"" if response.headers is None else _header_lines(response.headers),
        request_id.encode(),
        b"" if keep_alive else b"connection: close\r\n",
        len(response.body),
        response.body if has_body else b"",
    )


@lru_cache
def _status_and_default_headers(status: int, media_type: str, headers: tuple[tuple[bytes, bytes], ...]) -> bytes:
    """Return the status line and default headers. Cached, because `Date` changes only once a second."""
    lines = [b"%b: %b\r\n" % header for header in headers]
    return b"%bcontent-type: %b\r\n%b" % (STATUS_LINES[status], media_type.encode("latin-1"), b"".join(lines))


def _header_lines(headers: Mapping[str, str]) -> bytes:
    return "".join(f"{name.lower()}: {value}\r\n" for name, value in headers.items()).encode("latin-1")
