"""Keeps tracebacks of expected errors out of Prefect's log: they say in one line what is wrong."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mnistflow.errors import MnistflowError

_LOGGERS = ("prefect.flow_runs", "prefect.task_runs", "prefect.engine", "prefect")


class _WithoutTraceback(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, MnistflowError):
            record.exc_info, record.exc_text = None, None
        return True


@contextmanager
def expected_errors() -> Iterator[None]:
    """Shorten what Prefect logs of expected errors while the block runs."""
    short = _WithoutTraceback()
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(short)
    try:
        yield
    finally:
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(short)
