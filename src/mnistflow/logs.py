"""Logging: format and levels of log lines on the terminal."""

import logging


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = super().format(record)
        return f"{record.levelname}: {line}" if record.levelno >= logging.WARNING else line


def log_to_terminal() -> None:
    """Log to standard error: this package from level INFO, libraries from level WARNING."""
    handler = logging.StreamHandler()
    handler.setFormatter(_Formatter())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("mnistflow").setLevel(logging.INFO)
    logging.getLogger("mlflow").setLevel(logging.WARNING)
