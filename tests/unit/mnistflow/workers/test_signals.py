"""Interrupts of a block that drops them, or replaces them by another exception."""

import signal
import subprocess
import sys

import pytest

BLOCK = """
import os, signal, time
from mnistflow.workers import signals

try:
    with signals.interrupting_until_raised():
        {}
        print("the end of the block")
except KeyboardInterrupt:
    print("interrupted")
"""
DROPPED = """
        try:
            os.kill(os.getpid(), {})
            time.sleep(60)
        except KeyboardInterrupt:
            print("dropped")
        try:
            time.sleep(60)
        finally:
            time.sleep(2.5)  # longer than the time until an interrupt is raised again
            print("cleaned")
"""
REPLACED = """
        try:
            os.kill(os.getpid(), {})
            time.sleep(60)
        except KeyboardInterrupt:
            raise SystemError("another exception")
"""
IGNORED = """
        class Finalized:
            def __del__(self):
                print("finalized", flush=True)
                os.kill(os.getpid(), {})
                time.sleep(60)
        Finalized()
        time.sleep(60)
"""
NONE = """
        print("no signal {}")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    ("block", "printed"),
    [
        (DROPPED, ["dropped", "cleaned", "interrupted"]),
        (REPLACED, ["interrupted"]),
        (IGNORED, ["finalized", "interrupted"]),
        (NONE, ["no signal {}", "the end of the block"]),
    ],
)
def test_an_interrupt_ends_a_block_that_loses_it(number: signal.Signals, block: str, printed: list[str]) -> None:
    program = BLOCK.format(block.format(number.value))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [line.format(number.value) for line in printed]
    assert done.stderr == ""
