"""Looks of a detector that runs in an environment of its own: it reads streams from a folder, and writes its alarms.

Nothing but NumPy is imported, which every environment has.
"""

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Look = Callable[[Floats], Mapping[str, bool]]

REFERENCE, STREAMS = "reference.npy", "streams"
CALM = "calm"  # name of the stream without drift, of which every look is taken


def folder() -> Path:
    return Path(sys.argv[1])


def reference() -> Floats:
    """Return the reference, `[m, columns]`."""
    return np.asarray(np.load(folder() / REFERENCE), float)


def answer(look: Look) -> None:
    """Take the looks of all streams: those at calm traffic, and those at drift until an alarm; write the alarms.

    Args:
        look: returns whether a sample `[n, columns]` is an alarm, by the name of each way to decide that.
    """
    print(json.dumps({path.stem: _stream(path, look) for path in sorted((folder() / STREAMS).iterdir())}))


def _stream(path: Path, look: Look) -> dict[str, Any]:
    """Return the numbers of the looks with an alarm, one list a repetition, by the name of each way to decide that."""
    found: dict[str, list[list[int]]] = {}
    with np.load(path) as arrays:
        values, chosen = np.asarray(arrays["values"], float), arrays["chosen"]
    for repetition in chosen:
        alarms: dict[str, list[int]] = {}
        for number, rows in enumerate(repetition, start=1):
            for name, is_alarm in look(values[rows]).items():
                alarms.setdefault(name, []).extend([number] * is_alarm)
            if path.stem != CALM and all(alarms.values()):
                break
        for name, numbers in alarms.items():
            found.setdefault(name, []).append(numbers)
    return found
