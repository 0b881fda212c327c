"""Identity of a process, noted with what it owns, so that another process can tell later whether the owner has died."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import psutil

CLOCK_TOLERANCE_SECONDS = 1.0


def user_name() -> str:
    """Return the name of the user of this process; its number where the system has no name for it."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


def user_at_host() -> str:
    """Return user and machine of this process: `ada@laptop`."""
    return f"{user_name()}@{socket.gethostname()}"


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, also after its number has gone to another one.

    Attributes:
        host: name of its machine.
        started: seconds since the epoch.
    """

    host: str
    pid: int
    started: float

    @classmethod
    def of(cls, pid: int) -> Self:
        """Return the identity of a running process of this machine.

        Raises:
            psutil.NoSuchProcess: there is none of that number.
        """
        return cls(socket.gethostname(), pid, psutil.Process(pid).create_time())

    @classmethod
    def own(cls) -> Self:
        """Return the identity of this process."""
        return cls.of(os.getpid())

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return what `dataclasses.asdict` has made of an identity, which may have passed through JSON."""
        return cls(str(value["host"]), int(value["pid"]), float(value["started"]))

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is a process of another machine, of which nothing is known here."""
        return self.host != socket.gethostname()

    def has_died(self) -> bool:
        """Return whether the process has ended; False for one of another machine."""
        if self.is_elsewhere:
            return False
        try:
            process = psutil.Process(self.pid)
            return (
                abs(process.create_time() - self.started) > CLOCK_TOLERANCE_SECONDS
                or process.status() == psutil.STATUS_ZOMBIE
            )
        except psutil.NoSuchProcess:
            return True
