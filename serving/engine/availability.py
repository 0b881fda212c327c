"""Which models an admin has taken out of service. The workers of one server agree on that through a folder."""

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

SUFFIX = ".switch"


@dataclass(frozen=True, slots=True)
class Switch:
    """What an admin said of a model last, and when, in nanoseconds since the epoch."""

    is_on: bool
    time_ns: int


class Switches:
    """What was said of each model; gone when the server ends.

    Args:
        folder: where workers tell each other; None when there is one only.
    """

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder
        self._switches: dict[str, Switch] = {}

    def turn(self, name: str, *, on: bool) -> None:
        """Take a model into service or out of it."""
        switch = Switch(on, time.time_ns())
        self._switches[name] = switch
        if self._folder is not None:
            # Renamed into place, so that no worker reads half of it.
            temporary = self._folder / f"{name}.{os.getpid()}.tmp"
            temporary.write_text(f"{int(switch.is_on)} {switch.time_ns}")
            temporary.replace(self._folder / f"{name}{SUFFIX}")

    def read(self) -> Mapping[str, Switch]:
        """Return what was said of each model, here or in another worker."""
        if self._folder is not None:
            for path in self._folder.glob(f"*{SUFFIX}"):
                is_on, time_ns = map(int, path.read_text().split())
                self._switches[path.stem] = Switch(bool(is_on), time_ns)
        return dict(self._switches)
