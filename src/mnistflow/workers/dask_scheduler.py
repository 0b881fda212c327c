"""Dask scheduler of a search or a sweep: its configured address, and the connection to it."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator

from mnistflow.errors import ConfigError, StageError

if TYPE_CHECKING:
    from distributed import Client

VARIABLE = "DASK_SCHEDULER_ADDRESS"
CONNECT_SECONDS = 10
SCHEMES = ("tcp", "tls", "ws", "wss", "ucx")


def check(address: str) -> str:
    """Return the address of a scheduler unchanged.

    Raises:
        ValueError: it is not a valid address.
    """
    try:
        parts = urlsplit(address)
        is_valid = parts.scheme in SCHEMES and parts.hostname and parts.port
    except ValueError:  # a port or an IPv6 host that is none
        is_valid = False
    if not is_valid or address != f"{parts.scheme}://{parts.netloc}":
        raise ValueError("is not an address of a Dask scheduler, such as tcp://127.0.0.1:8786 or tcp://[::1]:8786")
    return address


Address = Annotated[str, AfterValidator(check)]


def find(configured: Address | None) -> Address | None:
    """Return the configured address, else the one in `DASK_SCHEDULER_ADDRESS`, else None.

    Raises:
        ConfigError: the variable holds no valid address.
    """
    given = os.environ.get(VARIABLE)
    if configured or not given:
        return configured
    try:
        return check(given)
    except ValueError as error:
        raise ConfigError(f"{VARIABLE}: {error} (got {given!r})", "Correct or unset it.") from error


def connect(address: Address) -> Client:
    """Return a client of the scheduler, within twice `CONNECT_SECONDS`.

    Raises:
        StageError: no scheduler answers, or Dask is not installed.
    """
    # Imported here, because the schema of params.yaml needs only `check`.
    import asyncio

    try:
        from distributed import Client
    except ImportError as error:
        raise StageError(
            f"the scheduler {address} cannot be used: Dask is not installed",
            "Install it with `pip install '.[cluster]'`, or set tune.scheduler to null.",
        ) from error
    # This module reports a scheduler that does not answer in one line. Dask's loggers would repeat it in many.
    for name in [name for name in logging.root.manager.loggerDict if name.startswith(("distributed", "tornado"))]:
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        # Dask's client waits forever for a peer that sends nothing, and cannot be closed properly after a failure.
        asyncio.run(_greet(address))
        return Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except Exception as error:  # another server may answer anything
        reason = str(error) or f"no answer for {CONNECT_SECONDS} s"
        raise StageError(
            f"no Dask scheduler answers at {address}: {reason}",
            f"Start it, or correct tune.scheduler or {VARIABLE}; null works on this machine alone.",
        ) from error


async def _greet(address: Address) -> None:
    import asyncio

    from distributed import Security, rpc

    async with asyncio.timeout(CONNECT_SECONDS):
        arguments = Security().get_connection_args("client")
        async with rpc(address, timeout=CONNECT_SECONDS / 2, connection_args=arguments) as peer:
            kind = (await peer.identity())["type"]
    if kind != "Scheduler":
        raise ValueError(f"it is a {kind.lower()}")
