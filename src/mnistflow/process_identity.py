"""Identity of a process, noted with what it owns, so that another process can tell later whether the owner has died."""

from __future__ import annotations

import getpass
import hashlib
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
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


@cache
def _own_namespace() -> str:
    """Return what numbers the processes here: a hash of the machine's ID, and the PID namespace; empty if unknown.

    Other machines may have the same host name. The ID itself should not leave the machine (machine-id(5)).
    """
    machine, processes = "", ""
    with suppress(OSError):
        machine = hashlib.sha256(b"mnistflow" + Path("/etc/machine-id").read_bytes().strip()).hexdigest()[:16]
    with suppress(OSError):
        processes = str(Path("/proc/self/ns/pid").readlink())
    return f"{machine} {processes}".strip()


def _boot_ticks(pid: int) -> str:
    """Return the ID of the machine's boot, and the clock ticks from it to the start of a process; empty if unknown.

    Unlike the time of the start that the system computes, they stay the same when the clock is set (proc(5)).
    """
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
    except OSError:
        return ""
    return f"{boot} {fields[19]}"


@dataclass(frozen=True)
class ProcessIdentity:
    """A process, also after its number has gone to another one.

    Attributes:
        host: name of its machine.
        started: seconds since the epoch, by the clock at the time of asking.
        namespace: within which `pid` is unique: machine and container; empty if unknown.
        boot_ticks: boot of the machine, and clock ticks from it to the start of the process; empty if unknown.
    """

    host: str
    pid: int
    started: float
    namespace: str = ""
    boot_ticks: str = ""

    @classmethod
    def of(cls, pid: int) -> Self:
        """Return the identity of a running process of this machine.

        Raises:
            psutil.NoSuchProcess: there is none of that number.
        """
        started = psutil.Process(pid).create_time()
        return cls(socket.gethostname(), pid, started, _own_namespace(), _boot_ticks(pid))

    @classmethod
    def own(cls) -> Self:
        """Return the identity of this process."""
        return cls.of(os.getpid())

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """Return what `dataclasses.asdict` has made of an identity, which may have passed through JSON."""
        known = (str(value.get(name, "")) for name in ("namespace", "boot_ticks"))
        return cls(str(value["host"]), int(value["pid"]), float(value["started"]), *known)

    @property
    def is_elsewhere(self) -> bool:
        """Whether it is a process of another machine or container, of which nothing is known here."""
        own = _own_namespace()
        return self.host != socket.gethostname() or bool(self.namespace and own and self.namespace != own)

    def has_died(self) -> bool:
        """Return whether the process has ended; False for one of another machine or container."""
        if self.is_elsewhere:
            return False
        try:
            process = psutil.Process(self.pid)
            return process.status() == psutil.STATUS_ZOMBIE or not self._is_of(process)
        except psutil.NoSuchProcess:
            return True

    def _is_of(self, process: psutil.Process) -> bool:
        """Return whether the process that has this number now is this one."""
        ticks = _boot_ticks(self.pid)
        if ticks and self.boot_ticks:
            return ticks == self.boot_ticks
        return abs(process.create_time() - self.started) <= CLOCK_TOLERANCE_SECONDS
