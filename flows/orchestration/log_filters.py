"""Prefect's log, shortened to what a reader needs: no line for each success, and an expected error only once, last."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mnistflow.errors import MnistflowError

# What Prefect calls Ctrl-C.
INTERRUPTED = "Crash detected! Execution was aborted by an interrupt signal"
_LOGGERS = ("prefect.flow_runs", "prefect.task_runs", "prefect.engine", "prefect")


class _WithoutTraceback(logging.Filter):
    """Takes the traceback from expected errors, here and in Prefect's UI, and marks them."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], MnistflowError):
            record.exc_info, record.exc_text = None, None
            record.is_expected = True
        return True


class _Needed(logging.Filter):
    """Keeps from the terminal what says no more than the lines of this project do."""

    def __init__(self, needless: tuple[str, ...]) -> None:
        super().__init__()
        self._needless = needless

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] != "prefect":
            return True
        # The command ends with it; Prefect would tell it for the task and the flow as well.
        is_told = getattr(record, "is_expected", False)
        return not is_told and not record.getMessage().startswith(self._needless)


@contextmanager
def short_log(links: bool) -> Iterator[None]:
    """Shorten what Prefect logs while the block runs; without `links`, leave out where its UI shows the run."""
    filters: list[tuple[logging.Filterer, logging.Filter]] = [
        (logging.getLogger(name), _WithoutTraceback()) for name in _LOGGERS
    ]
    needed = _Needed(("Finished in state", INTERRUPTED, *([] if links else ["View at"])))
    filters += [(handler, needed) for handler in logging.getLogger().handlers]
    for place, each in filters:
        place.addFilter(each)
    try:
        yield
    finally:
        for place, each in filters:
            place.removeFilter(each)
