"""Errors that are expected. Clients see their messages, which name no paths; only those of `CommandError` may."""


class ServingError(Exception):
    """Base class of all expected errors."""


class CommandError(ServingError):
    """A command cannot do its work. The message says how to fix it; it is shown on the terminal and may name paths."""


class StartError(CommandError):
    """The server cannot start."""


class ModelRefusedError(ServingError):
    """A stored version is damaged, breaks the model contract, or does not reproduce its recorded predictions."""


class InvalidRequestError(ServingError):
    """The request is not valid; the message says why."""


class NoInkError(InvalidRequestError):
    """Nothing is written on an image."""


class UnauthorizedError(ServingError):
    """The request has no API key, or a wrong one."""


class ForbiddenError(ServingError):
    """The API key of the request does not allow this, or no key does on this server."""


class UnknownModelError(ServingError):
    """The model, or this version of it, is not served here."""


class UnknownRequestError(ServingError):
    """Feedback names a request that is not in the inference log."""


class ConflictError(ServingError):
    """What the request concerns has changed since the client read it."""


class LogUnavailableError(ServingError):
    """The server has no inference log, or cannot write to it now."""


class BodyTimeoutError(ServingError):
    """The request body did not arrive in time."""


class TooLargeError(ServingError):
    """The request body is over the limit, compressed or decompressed."""


class UnsupportedMediaError(ServingError):
    """The endpoint does not accept the content type of the request."""


class NotReadyError(ServingError):
    """The model is known, but cannot answer now."""


class OverloadedError(ServingError):
    """The queue is full; the client may try again later."""


class DeadlineError(ServingError):
    """The request waited too long in the queue."""


class ClientGoneError(ServingError):
    """The client disconnected before its request ran."""


class InferenceFailedError(ServingError):
    """The model failed on a valid input."""
