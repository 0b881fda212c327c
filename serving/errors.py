"""What can go wrong in one line each. The text of every error here may be shown to a client: it names no path."""


class ServingError(Exception):
    """Base of every expected failure."""


class StartError(ServingError):
    """The server cannot start; says how to mend it. Shown on the terminal only, so it may name paths."""


class ModelRefusedError(ServingError):
    """A stored model is damaged, does not keep its contract, or does not reproduce its recorded predictions."""


class InvalidRequestError(ServingError):
    """The request can be read but is not valid."""


class UnauthorizedError(ServingError):
    """The request carries no key, or a wrong one."""


class ForbiddenError(ServingError):
    """The request carries no key that allows this, or nobody is allowed to do it here."""


class UnknownModelError(ServingError):
    """No such model, or no such version of it, is served here."""


class UnknownRequestError(ServingError):
    """Feedback on an answer that is not in the inference log."""


class LogUnavailableError(ServingError):
    """There is no inference log, or it cannot be written now."""


class BodyTimeoutError(ServingError):
    """The body did not arrive in time."""


class TooLargeError(ServingError):
    """The body, or what it unpacks to, is over the limit."""


class UnsupportedMediaError(ServingError):
    """The body is of a kind that is not offered here."""


class NotReadyError(ServingError):
    """A model is known but cannot answer now."""


class OverloadedError(ServingError):
    """Too much waits already; worth another try a little later."""


class DeadlineError(ServingError):
    """The request waited too long for its turn."""


class ClientGoneError(ServingError):
    """Nobody waits for the answer any more."""


class InferenceFailedError(ServingError):
    """The model failed on an input that was valid."""
