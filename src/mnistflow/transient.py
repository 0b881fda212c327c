"""Transient errors: whether an exception may go away by itself, so that another attempt makes sense.

The classes of other packages are named here instead of imported: most processes load only a few of those packages.
"""

from __future__ import annotations

from collections.abc import Iterator

CLASSES = frozenset(
    {
        "builtins.ConnectionError",
        "builtins.TimeoutError",
        "urllib3.exceptions.NewConnectionError",
        "urllib3.exceptions.ProtocolError",
        "urllib3.exceptions.TimeoutError",
        "urllib3.exceptions.MaxRetryError",
        "requests.exceptions.ConnectionError",
        "requests.exceptions.Timeout",
        "requests.exceptions.ChunkedEncodingError",
        "requests.exceptions.RetryError",
        "httpx.NetworkError",
        "httpx.RemoteProtocolError",
        "httpx.TimeoutException",
        "aiohttp.client_exceptions.ClientConnectionError",
        "aiohttp.client_exceptions.ClientPayloadError",
        "fsspec.exceptions.FSTimeoutError",
        "sqlalchemy.exc.OperationalError",
        "sqlite3.OperationalError",
        "psycopg.OperationalError",
        "distributed.comm.core.CommClosedError",
        "dvc.exceptions.FileTransferError",
        "dvc.lock.LockError",
    }
)

# Of MLflow's exceptions, which have one class for all causes.
MLFLOW = "mlflow.exceptions.MlflowException"
MLFLOW_CODES = frozenset({"TEMPORARILY_UNAVAILABLE", "REQUEST_LIMIT_EXCEEDED"})
# MLflow has no error code of its own for these answers of a proxy, or of a server that is starting.
MLFLOW_ANSWERS = tuple(f"failed with error code {status}" for status in (408, 429, 502, 503, 504))


def is_transient(error: BaseException) -> bool:
    """Return whether an error, or an error that it was raised from, may go away by itself.

    An error with an attribute `transient` decides for itself: True and False are final, None leaves it to the cause.
    """
    for link in _chain(error):
        stated = getattr(link, "transient", None)
        if stated is not None:
            return bool(stated)
        if _is_known(link):
            return True
    return False


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and its causes. MLflow, among others, raises without `from` where it wraps an exception."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def _is_known(error: BaseException) -> bool:
    names = {f"{cls.__module__}.{cls.__qualname__}" for cls in type(error).__mro__}
    if MLFLOW in names:
        return getattr(error, "error_code", None) in MLFLOW_CODES or any(part in str(error) for part in MLFLOW_ANSWERS)
    return not names.isdisjoint(CLASSES)
