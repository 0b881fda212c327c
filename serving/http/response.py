"""HTTP responses: JSON bodies, error bodies with their status codes, and compression."""

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson

from serving.errors import (
    BodyTimeoutError,
    ClientGoneError,
    DeadlineError,
    ForbiddenError,
    InferenceFailedError,
    InvalidRequestError,
    LogUnavailableError,
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
    UnauthorizedError: 401,
    ForbiddenError: 403,
    UnknownModelError: 404,
    UnknownRequestError: 404,
    BodyTimeoutError: 408,
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
