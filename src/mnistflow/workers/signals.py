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
    """Like `interrupting`, for a block that calls TensorFlow, which may drop a KeyboardInterrupt or replace it.

    While the block goes on, KeyboardInterrupt is raised again each second, but not while the block cleans up. Any
    exception that the block raises after the signal becomes a KeyboardInterrupt. Python reports no KeyboardInterrupt
    that it drops itself, in a finalizer or in a callback of a weak reference.
    """
    received = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal received
        received = True
        signal.setitimer(signal.ITIMER_REAL, REPEAT_SECONDS, REPEAT_SECONDS)
        _interrupt(number, frame)

    def repeat(number: int, frame: FrameType | None) -> None:
        if not _is_unwinding():
            _interrupt(number, frame)

    with interrupting():
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, interrupt)
        previous = signal.signal(signal.SIGALRM, repeat)
        hook, sys.unraisablehook = sys.unraisablehook, _report_unless_interrupt
        try:
            yield
        except Exception as error:
            if received:
                raise KeyboardInterrupt from error
            raise
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
            sys.unraisablehook = hook


def _report_unless_interrupt(unraisable: "sys.UnraisableHookArgs") -> None:
    if unraisable.exc_type is not KeyboardInterrupt:
        sys.__unraisablehook__(unraisable)


def _is_unwinding() -> bool:
    """Return whether an interrupt is on its way out of the block, through `finally` blocks and context managers."""
    error = sys.exc_info()[1]
    while error is not None and not isinstance(error, KeyboardInterrupt):
        error = error.__context__
    return error is not None
