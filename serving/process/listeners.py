"""Listeners: the sockets that workers accept connections on, of a TCP port or of a Unix socket.

The workers of a TCP port have a socket each (SO_REUSEPORT), so that the kernel spreads the connections. Those of a Unix
socket share one: whichever is free accepts.
"""

import socket
import stat
from pathlib import Path

from serving.errors import StartError

BACKLOG = 2048
ALL_MAY_CONNECT = 0o666  # the permissions of its folder decide, as for other servers' sockets


def address(listener: socket.socket, scheme: str) -> str:
    """Return the URL of a listener; of a Unix socket, its path after `unix:`, as nginx and gRPC write it."""
    if listener.family == socket.AF_UNIX:
        return f"unix:{listener.getsockname()}"
    return url(scheme, *listener.getsockname()[:2])


def url(scheme: str, host: str, port: int) -> str:
    """Return the URL of a host, which may be an IPv6 address, and a port."""
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"


def listen(host: str, port: int, count: int = 1, option: str = "--port") -> list[socket.socket]:
    """Open sockets that listen on the same address.

    Args:
        host: name or address of an interface.
        port: 0 chooses a free one.
        count: number of sockets.
        option: of the command line, that sets the port; named in errors.

    Raises:
        StartError: the address is in use or not one of this machine, or the system cannot share addresses.
    """
    if count > 1 and not hasattr(socket, "SO_REUSEPORT"):
        raise StartError("this system cannot share an address between processes. Start with --workers 1.")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        # First without the option to share the address, so that a second server on it fails at once.
        first = _bound(family, kind, protocol, address, shared=False)
        if count == 1:
            first.listen(BACKLOG)
            return [first]
        address = first.getsockname()
        first.close()
        listeners = [_bound(family, kind, protocol, address, shared=True) for _ in range(count)]
        for listener in listeners:
            listener.listen(BACKLOG)
    except OSError as error:
        raise StartError(
            f"cannot listen on {host}:{port} ({error.strerror}). Choose another {option} or --host."
        ) from None
    return listeners


def listen_on_path(path: Path, count: int = 1) -> list[socket.socket]:
    """Open a Unix socket that listens, once for each worker.

    Its file stays when the server has ended: the next one replaces it.

    Raises:
        StartError: a server answers there, or the path is not that of a socket or cannot be written.
    """
    if path.exists() and not stat.S_ISSOCK(path.stat().st_mode):
        raise StartError(f"cannot listen on {path}: it is not a socket. Choose another --uds.")
    if _answers(path):
        raise StartError(f"cannot listen on {path}: another server does. Choose another --uds.")
    listener = socket.socket(socket.AF_UNIX)
    try:
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        path.chmod(ALL_MAY_CONNECT)
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise StartError(f"cannot listen on {path} ({error.strerror or error}). Choose another --uds.") from None
    return [listener, *(listener.dup() for _ in range(count - 1))]


def _bound(family: int, kind: int, protocol: int, address: object, *, shared: bool) -> socket.socket:
    bound = socket.socket(family, kind, protocol)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if shared:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        bound.bind(address)  # type: ignore[arg-type]  # as getaddrinfo and getsockname give it
    except OSError:
        bound.close()
        raise
    return bound


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(str(path))
        except OSError:
            return False
    return True
