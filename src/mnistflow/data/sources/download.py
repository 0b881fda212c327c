"""Download of a file: resumable, verified by size and SHA-256, and written atomically."""

import functools
import re
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from mnistflow import files
from mnistflow.data.entry import File
from mnistflow.data.sources.mirrors import Location

# Long enough for the kernel to retry once, but short if a network drops packets.
CONNECT_SECONDS = 5.0

_ERROR_NUMBER = re.compile(r"^\[Errno -?\d+\] ")
_BUSY = {408, 425, 429}

Progress = Callable[[int], object]


class FileUnavailable(Exception):
    """A location did not provide the file.

    Args:
        reason: in a few words.
        transient: whether another attempt may succeed.
    """

    def __init__(self, reason: str, *, transient: bool = False) -> None:
        super().__init__(reason)
        self.transient = transient


def copy_or_download(location: Location, target: Path, file: File, timeout: float, progress: Progress) -> None:
    """Copy or download a file to `target`, which is unchanged unless size and hash are as expected.

    Args:
        location: a path or an HTTP URL.
        target: path of the file; an unfinished download is kept next to it and resumed by the next call.
        file: expected size and SHA-256.
        timeout: longest time without receiving data, in seconds.
        progress: called with the number of bytes received so far.

    Raises:
        FileUnavailable: the location does not provide the file.
        OSError: `target` cannot be written.
        DataError: `target` cannot be written.
    """
    if isinstance(location, Path):
        _copy(location, target, file)
        _part(target).unlink(missing_ok=True)
    else:
        _download(location, target, file, timeout, progress)
    progress(file.bytes)


def matches(path: Path, file: File) -> bool:
    """Return whether the file at `path` exists with the expected size and SHA-256."""
    return path.is_file() and path.stat().st_size == file.bytes and files.sha256(path) == file.sha256


def _copy(source: Path, target: Path, file: File) -> None:
    try:
        size = source.stat().st_size
        matching = size == file.bytes and files.sha256(source) == file.sha256
    except OSError as error:
        raise FileUnavailable(error.strerror or str(error)) from error
    if not matching:
        raise FileUnavailable(_mismatch(size, file))
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
        raise FileUnavailable(_mismatch(size, file))
    # The resumed part may have come from another location, so the whole file is downloaded again.
    _download(url, target, file, timeout, progress)


def _receive(url: str, part: Path, file: File, timeout: float, progress: Progress) -> int:
    """Append the rest of the file to `part`, and return the offset of the first byte that the server sent."""
    existing = _size(part)
    # With a content encoding, the range would refer to compressed bytes.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={existing}-"} if existing else {})
    with _client(timeout) as client, _named_failures(), client.stream("GET", url, headers=headers) as response:
        start = _start(response, existing, part)
        content_length = response.headers.get("Content-Length")
        if content_length is not None and start + int(content_length) != file.bytes:
            raise FileUnavailable(_mismatch(start + int(content_length), file))
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
        raise FileUnavailable(f"more than {file.bytes} bytes")
    if received < file.bytes:
        raise FileUnavailable(f"connection closed after {received} of {file.bytes} bytes", transient=True)
    return start


def _start(response: httpx.Response, existing: int, part: Path) -> int:
    """Return the offset of the first byte of the body: the size of `part`, or 0 if the server sends the whole file."""
    status = response.status_code
    if status == httpx.codes.OK:
        return 0
    if status == httpx.codes.PARTIAL_CONTENT and response.headers.get("Content-Range", "").startswith(
        f"bytes {existing}-"
    ):
        return existing
    if existing and status in {httpx.codes.PARTIAL_CONTENT, httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE}:
        part.unlink()
        raise FileUnavailable("cannot resume the download", transient=True)
    raise FileUnavailable(f"HTTP {status}", transient=status in _BUSY or response.is_server_error)


def _client(timeout: float) -> httpx.Client:
    try:
        return httpx.Client(
            timeout=httpx.Timeout(timeout, connect=min(timeout, CONNECT_SECONDS)),
            follow_redirects=True,
            verify=_certificates(),
        )
    except (ImportError, OSError, ValueError) as error:
        raise FileUnavailable(f"proxy or certificate settings: {error}") from error


@functools.cache
def _certificates() -> ssl.SSLContext:
    """Return httpx's certificates, which take longer to load than an answer takes to come."""
    return httpx.create_ssl_context()


@contextmanager
def _named_failures() -> Iterator[None]:
    try:
        yield
    except httpx.ConnectTimeout as error:
        raise FileUnavailable("connection timed out") from error
    except httpx.TimeoutException as error:
        raise FileUnavailable("response timed out", transient=True) from error
    except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
        # Unlike a broken connection, an invalid URL or an unknown host fails in every attempt.
        broken = isinstance(error, httpx.TransportError) and not isinstance(error, httpx.UnsupportedProtocol)
        reason = _ERROR_NUMBER.sub("", str(error)) or type(error).__name__
        raise FileUnavailable(reason, transient=broken and not _is_unknown_host(error)) from error


def _is_unknown_host(error: BaseException) -> bool:
    """Return whether the name service knows that there is no such host, rather than that it gives no answer now."""
    link: BaseException | None = error
    while link is not None and not isinstance(link, socket.gaierror):
        link = link.__context__  # httpcore raises without a cause
    return link is not None and link.errno == socket.EAI_NONAME


def _mismatch(size: int, file: File) -> str:
    return "wrong contents (sha256)" if size == file.bytes else f"{size} bytes instead of {file.bytes}"


def _part(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
