"""Request IDs: checks those that clients send in `X-Request-Id`, and generates those that are missing."""

import itertools
import os
import re

# Client IDs outside this set are replaced: IDs appear in headers, logs and tables as they are.
VALID = re.compile(r"[A-Za-z0-9._:-]{1,64}")
# Random per process, so that the IDs of two processes differ.
PROCESS_PREFIX = os.urandom(6).hex()
_counter = itertools.count(1)


def valid_request_id(text: str | None) -> str | None:
    """Return a client's request ID, or None if it is missing or not safe to log."""
    return text if text and VALID.fullmatch(text) else None


def new_request_id() -> str:
    """Return an ID for a request whose client sent none."""
    return f"{PROCESS_PREFIX}-{next(_counter)}"
