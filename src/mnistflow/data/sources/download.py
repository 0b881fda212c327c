"""One file from one place: verified, resumable, and whole or not there."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from mnistflow import files
from mnistflow.data.entry import File
from mnistflow.data.sources.mirrors import Location

# The kernel has repeated its call by then; a network that drops packets must not cost minutes.
CONNECT_SECONDS = 5.0

_BUSY = {408, 425, 429}

Progress = Callable[[int], object]


class UnobtainableError(Exception):
    """A place did not give the file.

    Args:
        reason: in a few words.
        transient: another attempt may succeed.
    """

    def __init__(self, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.transient = transient


def obtain(location: Location, target: Path, file: File, timeout: float, progress: Progress) -> None:
    """Bring a file to `target`, which either gets exactly the bytes that `file` describes or stays as it was.

    Args:
        location: a path or an HTTP URL.
        target: where the file belongs; an unfinished download stays beside it and is continued by the next call.
        file: its true size and sha256.
        timeout: seconds without a byte after which a server is given up.
        progress: called with the number of bytes there so far.

    Raises:
        UnobtainableError: this place does not have the file, or does not give it.
        OSError, DataError: `target` cannot be written.
    """
    if isinstance(location, Path):
        _copy(location, target, file)
        _part(target).unlink(missing_ok=True)
    else:
        _download(location, target, file, timeout, progress)
    progress(file.bytes)


def matches(path: Path, file: File) -> bool:
    """Tell whether the file at `path` is there and has the right size and sha256."""
    return path.is_file() and path.stat().st_size == file.bytes and files.sha256(path) == file.sha256


def _copy(source: Path, target: Path, file: File) -> None:
    try:
        size = source.stat().st_size
        right = size == file.bytes and files.sha256(source) == file.sha256
    except OSError as error:
        raise UnobtainableError(error.strerror or str(error)) from error
    if not right:
        raise UnobtainableError(_mismatch(size, file))
    with files.atomic_write(target) as temporary:
        shutil.copyfile(source, temporary)


def _download(url: str, target: Path, file: File, timeout: float, progress: Progress) -> None:
    part = _part(target)
    start = _size(part)
    if start < file.bytes:
        start = _receive(url, part, file, timeout, progress)
    if matches(part, file):
        part.replace(target)
        return
    size = _size(part)
    part.unlink()
    if not start:
        raise UnobtainableError(_mismatch(size, file))
    # What an earlier attempt left may have come from another place: this one deserves a fresh start.
    _download(url, target, file, timeout, progress)


def _receive(url: str, part: Path, file: File, timeout: float, progress: Progress) -> int:
    """Append the rest of the file to `part` and return the offset at which the server began to send."""
    held = _size(part)
    # Compressed on the way, a range would count other bytes than those of the file.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={held}-"} if held else {})
    with _client(timeout) as client, _failures_named(), client.stream("GET", url, headers=headers) as response:
        start = _start(response, held, part)
        promised = response.headers.get("Content-Length")
        if promised is not None and start + int(promised) != file.bytes:
            raise UnobtainableError(_mismatch(start + int(promised), file))
        with part.open("ab" if start else "wb") as stream:
            received = start
            for chunk in response.iter_raw():
                received += len(chunk)
                if received > file.bytes:
                    break
                stream.write(chunk)
                progress(received)
    if received > file.bytes:
        part.unlink()
        raise UnobtainableError(f"more than {file.bytes} bytes")
    if received < file.bytes:
        raise UnobtainableError(f"cut off after {received} of {file.bytes} bytes", transient=True)
    return start


def _start(response: httpx.Response, held: int, part: Path) -> int:
    """Return the offset of the first byte of the body: 0 if the server does not continue where `part` ends."""
    status = response.status_code
    if status == httpx.codes.OK:
        return 0
    if status == httpx.codes.PARTIAL_CONTENT and response.headers.get("Content-Range", "").startswith(f"bytes {held}-"):
        return held
    if held and status in {httpx.codes.PARTIAL_CONTENT, httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE}:
        part.unlink()
        raise UnobtainableError("does not continue the download", transient=True)
    raise UnobtainableError(f"HTTP {status}", transient=status in _BUSY or response.is_server_error)


def _client(timeout: float) -> httpx.Client:
    try:
        return httpx.Client(
            timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)), follow_redirects=True
        )
    except (ImportError, OSError, ValueError) as error:
        raise UnobtainableError(f"proxy or certificate settings: {error}") from error


@contextmanager
def _failures_named() -> Iterator[None]:
    try:
        yield
    except httpx.ConnectTimeout as error:
        raise UnobtainableError("no connection in time") from error
    except httpx.TimeoutException as error:
        raise UnobtainableError("no answer in time", transient=True) from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        # A bad URL, unlike a broken connection, fails in the same way each time.
        broken = isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol)
        raise UnobtainableError(str(error) or type(error).__name__, transient=broken) from error


def _mismatch(size: int, file: File) -> str:
    return "wrong contents (sha256)" if size == file.bytes else f"{size} bytes instead of {file.bytes}"


def _part(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
