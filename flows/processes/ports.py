"""Ports: reserves a free TCP port for each service that this process starts."""

from __future__ import annotations

import socket
from contextlib import suppress

from mnistflow.errors import MnistflowError

TRIED = 100

_reservations: list[socket.socket] = []


def reserve(host: str, wanted: int) -> int:
    """Return the wanted TCP port, or the next one that is neither in use nor reserved.

    A service listens only seconds after its port was chosen. Until this process ends, it binds the UDP port of the same
    number, which reserves the port against other processes that choose theirs with this function.

    Raises:
        MnistflowError: no port is free.
    """
    for port in range(wanted, wanted + TRIED):
        reservation = socket.socket(type=socket.SOCK_DGRAM)
        with socket.socket() as probe, suppress(OSError):
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
            reservation.bind((host, port))
            _reservations.append(reservation)
            return port
        reservation.close()
    raise MnistflowError(f"no free port from {wanted} to {wanted + TRIED - 1} on {host}", "Stop what listens there.")
