"""gRPC status codes of errors."""

import logging
from collections.abc import Mapping

import grpc

from serving.errors import (
    ClientGoneError,
    DeadlineError,
    ForbiddenError,
    InvalidRequestError,
    NotReadyError,
    OverloadedError,
    ServingError,
    UnauthorizedError,
    UnknownModelError,
)

log = logging.getLogger(__name__)

CODES: Mapping[type[ServingError], grpc.StatusCode] = {
    InvalidRequestError: grpc.StatusCode.INVALID_ARGUMENT,
    UnauthorizedError: grpc.StatusCode.UNAUTHENTICATED,
    ForbiddenError: grpc.StatusCode.PERMISSION_DENIED,
    UnknownModelError: grpc.StatusCode.NOT_FOUND,
    ClientGoneError: grpc.StatusCode.CANCELLED,
    NotReadyError: grpc.StatusCode.UNAVAILABLE,
    OverloadedError: grpc.StatusCode.UNAVAILABLE,
    DeadlineError: grpc.StatusCode.DEADLINE_EXCEEDED,
}

# Codes of failures that the server caused.
SERVER_ERRORS = frozenset({grpc.StatusCode.INTERNAL, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED})


def status(error: Exception) -> tuple[grpc.StatusCode, str]:
    """Return status code and details of an exception. Unexpected exceptions are logged, and their text is hidden."""
    if not isinstance(error, ServingError):
        log.error("unexpected error while handling a call", exc_info=error)
        return grpc.StatusCode.INTERNAL, "internal error"
    code = next((code for kind, code in CODES.items() if isinstance(error, kind)), grpc.StatusCode.INTERNAL)
    if code is grpc.StatusCode.INTERNAL:
        log.error("%s", error, exc_info=error)
    return code, str(error)
