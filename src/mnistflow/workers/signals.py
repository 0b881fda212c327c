"""Signals that end a program, raised as KeyboardInterrupt so that `finally` blocks and context managers run."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

REPEAT_SECONDS = 1.0


@contextmanager
def interrupting() -> Iterator[None]:
    """SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt in the block; a SIGHUP that `nohup` switched off stays off."""
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) != signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    previous = [signal.signal(number, _interrupt) for number in signals]
    try:
        yield
    finally:
        for number, handler in zip(signals, previous, strict=True):
            signal.signal(number, handler)


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def interrupting_until_raised() -> Iterator[None]:
    """Like `interrupting`, and raise KeyboardInterrupt again where a library has dropped it: TensorFlow clears errors.

    The block must let a KeyboardInterrupt pass.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, REPEAT_SECONDS, REPEAT_SECONDS)
        _interrupt(number, frame)

    def repeat(number: int, frame: FrameType | None) -> None:
        if not _is_unwinding():
            _interrupt(number, frame)

    with interrupting():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, interrupt)
        previous = signal.signal(signal.SIGALRM, repeat)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)


def _is_unwinding() -> bool:
    """Return whether an interrupt is on its way out of the block, through `finally` blocks and context managers."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None
