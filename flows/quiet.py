"""Prefect's log, shortened to what a reader needs: no traceback for an expected error, no line for each success."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mnistflow.errors import MnistflowError

_LOGGERS = ("prefect.flow_runs", "prefect.task_runs", "prefect.engine", "prefect")


class _Short(logging.Filter):
    def __init__(self, needless: tuple[str, ...]) -> None:
        super().__init__()
        self._needless = needless

    def filter(self, record: logging.LogRecord) -> bool:
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, MnistflowError):
            record.exc_info, record.exc_text = None, None
        return not record.getMessage().startswith(self._needless)


@contextmanager
def short_log(links: bool) -> Iterator[None]:
    """Shorten what Prefect logs while the block runs; without `links`, leave out where its UI shows the run."""
    short = _Short(("Finished in state Completed", *([] if links else ["View at"])))
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(short)
    try:
        yield
    finally:
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(short)
