"""Errors that a user can fix. Each message is one line: what failed, where, and how to fix it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class MnistflowError(Exception):
    """Base of every expected failure; the command line prints it as one line and exits with 1.

    Args:
        problem: what is wrong and where; a final full stop, as other libraries' messages have it, is dropped.
        fix: what the user can do about it, as an imperative.
    """

    def __init__(self, problem: str, fix: str = "") -> None:
        self.problem = " ".join(problem.split()).rstrip(".")
        self.fix = fix
        super().__init__(f"{self.problem}. {fix}".strip() if fix else self.problem)


class ConfigError(MnistflowError):
    """params.yaml or an override is not valid."""


class DataError(MnistflowError):
    """A data file is missing, damaged, or not what its entry says."""


class MirrorsExhausted(DataError):
    """No mirror gave a file that matches its checksum."""


class StageError(MnistflowError):
    """A stage cannot do its work with what it was given."""


class ParityError(MnistflowError):
    """The ONNX file does not compute what the trained model computes."""


class RegistryError(MnistflowError):
    """The registry holds no such model or version, or a change of it is refused."""


@contextmanager
def in_one_line() -> Iterator[None]:
    """Turn every exception of the block into a MnistflowError; the traceback of an unforeseen one is logged."""
    try:
        yield
    except MnistflowError:
        raise
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise MnistflowError(
            f"{where}{error.strerror or error}", "Check that the disk has space and this user may write there."
        ) from error
    except Exception as error:
        logging.getLogger(__name__).exception("not foreseen")
        raise MnistflowError(f"{type(error).__name__}, which was not foreseen: {error}") from error
