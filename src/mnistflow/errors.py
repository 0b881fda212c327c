"""Errors that a user can fix. Each message is one line: what failed, where, and how to fix it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from mnistflow.transient import is_transient

_CHECK_DISK = "Check that the disk has space and this user may write there."
_CHECK_SERVERS = "Check that the servers in use are running, and try again."


class MnistflowError(Exception):
    """Base of every expected failure; the command line prints it as one line and exits with 1.

    Args:
        problem: what is wrong and where; a final full stop, as messages of other libraries have it, is dropped.
        fix: what the user can do about it, as an imperative.
        transient: whether the failure may go away by itself; None: as that of the error that it was raised from.
    """

    def __init__(self, problem: str, fix: str = "", *, transient: bool | None = None) -> None:
        self.problem = " ".join(problem.split()).rstrip(".")
        self.fix = fix
        self._transient = transient
        super().__init__(f"{self.problem}. {fix}".strip() if fix else self.problem)

    @property
    def transient(self) -> bool:
        """Whether another attempt may succeed. The answer survives wrapping by `raise ... from` and pickling."""
        if self._transient is not None:
            return self._transient
        return self.__cause__ is not None and is_transient(self.__cause__)

    def __reduce__(self) -> tuple[Any, ...]:
        # Pickle keeps the attributes of an exception, not its cause.
        return type(self), self.args, {**self.__dict__, "_transient": self.transient}


class ConfigError(MnistflowError):
    """params.yaml, an override or an environment variable is not valid."""


class MissingKeys(ConfigError):
    """params.yaml lacks keys; other keys may be wrong too.

    Attributes:
        keys: dotted.
    """

    def __init__(self, problem: str, fix: str = "", keys: tuple[str, ...] = ()) -> None:
        super().__init__(problem, fix)
        self.keys = keys


class DataError(MnistflowError):
    """A data file is missing, damaged, or does not match its entry."""


class MirrorsExhausted(DataError):
    """No mirror gave a file that matches its checksum."""


class StageError(MnistflowError):
    """A stage cannot do its work with what it was given."""


class ParityError(MnistflowError):
    """The ONNX file does not compute what the trained model computes."""


class RegistryError(MnistflowError):
    """The registry holds no such model or version, or a change of it is refused."""


class NotReproduced(MnistflowError):
    """A recorded run cannot be repeated, or gives another model: names the first input that is gone or differs."""


@contextmanager
def in_one_line() -> Iterator[None]:
    """Turn every exception of the block into a MnistflowError; the traceback of an unexpected one is logged.

    Raises:
        MnistflowError: the block raised an exception. `transient` is that of the original exception.
        KeyboardInterrupt: the block was interrupted.
    """
    try:
        yield
    except MnistflowError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        fix = _CHECK_SERVERS if is_transient(error) else _CHECK_DISK
        raise MnistflowError(f"{where}{error.strerror or error}", fix) from error
    except Exception as error:
        if KeyboardInterrupt.__name__ in str(error):
            # pybind11, in TensorFlow, replaces an interrupt by an error that only names it.
            raise KeyboardInterrupt from error
        logging.getLogger(__name__).exception("unexpected error")
        raise MnistflowError(f"unexpected {type(error).__name__}: {error}") from error
