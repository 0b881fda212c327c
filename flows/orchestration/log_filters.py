"""Filters of Prefect's log: no line for each success, and no traceback of an expected error."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mnistflow.errors import MnistflowError

# Start of Prefect's messages after Ctrl-C and SIGTERM.
INTERRUPTED = "Crash detected! Execution was aborted by a"
# They would say at the end how many events and records Prefect has yet to send, and it sends them.
_QUEUES = ("EventsWorker", "APILogWorker")
_LOGGERS = ("prefect.flow_runs", "prefect.task_runs", "prefect.engine", "prefect")


class _WithoutTraceback(logging.Filter):
    """Removes the traceback of expected errors, on the terminal and in Prefect's UI, and marks their records."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.exc_info and isinstance(record.exc_info[1], MnistflowError):
            record.exc_info, record.exc_text = None, None
            record.is_expected = True
        return True


class _Needed(logging.Filter):
    """Drops lines of Prefect from the terminal that repeat lines of this project."""

    def __init__(self, repeated: tuple[str, ...]) -> None:
        super().__init__()
        self._repeated = repeated

    def filter(self, record: logging.LogRecord) -> bool:
        if record.name.partition(".")[0] != "prefect":
            return True
        # The command prints it as its last line. Prefect would repeat it for the task and for the flow.
        is_expected = getattr(record, "is_expected", False)
        return not is_expected and not record.getMessage().startswith(self._repeated)


@contextmanager
def short_log(links: bool) -> Iterator[None]:
    """Filter Prefect's log while the block runs.

    Args:
        links: whether to keep the links to Prefect's UI.
    """
    for name in _QUEUES:
        logging.getLogger(name).setLevel(logging.ERROR)
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
