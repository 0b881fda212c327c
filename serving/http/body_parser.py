"""Parser of request bodies: parses large ones in a thread, so that the event loop continues to serve other requests."""

import asyncio
import gc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from serving.errors import ClientGoneError, ServingError

# Bodies up to this size are parsed on the event loop, which takes milliseconds.
MAX_INLINE_BYTES = 256 * 1024

Result = TypeVar("Result")


class BodyParser:
    """Parses bodies for all endpoints. Used on the event loop only."""

    def __init__(self) -> None:
        # One thread, because decoding JSON holds Python's global lock: the event loop waits for one body at a time.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="parser")

    async def run(self, parse: Callable[[], Result], size: int, is_disconnected: Callable[[], bool]) -> Result:
        """Return the result of `parse`.

        Args:
            parse: parses a body.
            size: bytes that it has to parse.
            is_disconnected: returns whether the client has closed the connection.

        Raises:
            ClientGoneError: the client disconnected before its large body was parsed.
        """
        if size <= MAX_INLINE_BYTES:
            return parse()
        return await asyncio.get_running_loop().run_in_executor(self._thread, _parse, parse, is_disconnected)


def _parse(parse: Callable[[], Result], is_disconnected: Callable[[], bool]) -> Result:
    """Return the result of `parse`, meanwhile without garbage collection.

    The collector would visit each of the millions of lists that a body may have, which takes longer than decoding
    them. Collection is resumed when they are freed, since they are in no cycles.
    """
    if is_disconnected():
        raise ClientGoneError("the client closed the connection before its body was parsed")
    gc.disable()
    try:
        return parse()
    except ServingError as error:
        # The traceback would keep what was decoded alive.
        raise error.with_traceback(None) from None
    finally:
        gc.enable()
