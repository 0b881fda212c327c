"""Request heads: method, path, query and headers of a request, and a cache of parsed heads."""

from functools import cached_property

from serving.http.compression import IDENTITY
from serving.http.request_id import valid_request_id
from serving.http.route_match import RouteMatch

# Clients choose what they send, so the cache is bounded in entries and in bytes per entry.
MAX_CACHED_HEADS = 1024
MAX_CACHED_BYTES = 1024
# Python refuses to convert strings of thousands of digits to a number.
MAX_CONTENT_LENGTH_DIGITS = 20
INFERENCE_HEADER_LENGTH = "Inference-Header-Content-Length"
END_OF_HEAD = b"\r\n\r\n"
# Bytes of a header besides its name and value: a colon, a space, and the end of the line.
HEADER_OVERHEAD = 4


class HeadTooLargeError(Exception):
    """A request line with headers is larger than the limit."""


class RequestHead:
    """Method, path and headers of a request. Requests that begin with the same bytes share one instance.

    Attributes:
        method: such as GET; HEAD is handled as GET.
        is_head_request: whether the method was HEAD, so that the response has no body.
        path: percent-decoded.
        query: as sent.
        keep_alive: whether the connection stays open after the response.
        route_match: of requests with this head, set by the router at the first one.
    """

    def __init__(self, method: str, path: str, query: bytes, headers: dict[bytes, bytes], keep_alive: bool) -> None:
        self.is_head_request = method == "HEAD"
        self.method = "GET" if self.is_head_request else method
        self.path = path
        self.query = query
        self.keep_alive = keep_alive
        self.route_match: RouteMatch | None = None
        self._headers = headers

    def header(self, name: bytes, default: str = "") -> str:
        """Return a header by its lower-case name."""
        value = self._headers.get(name)
        return default if value is None else value.decode("latin-1")

    def has_header(self, name: bytes) -> bool:
        """Return whether the client sent a header, by its lower-case name."""
        return name in self._headers

    @cached_property
    def request_id(self) -> str | None:
        """The client's `X-Request-Id`; None if it is missing or not safe to log."""
        return valid_request_id(self.header(b"x-request-id"))

    @cached_property
    def media_type(self) -> str:
        """Content type of the body, in lower case, without parameters."""
        return self.header(b"content-type").partition(";")[0].strip().lower()

    @cached_property
    def encoding(self) -> str:
        """Content encoding (compression) of the body."""
        return self.header(b"content-encoding", IDENTITY).strip().lower()

    @cached_property
    def content_length(self) -> int:
        """Announced length of the body in bytes; 0 if it is not announced."""
        length = self.header(b"content-length")
        return int(length) if length.isdecimal() and len(length) <= MAX_CONTENT_LENGTH_DIGITS else 0

    @cached_property
    def inference_header_length(self) -> str | None:
        """`Inference-Header-Content-Length` as sent: the bytes of JSON before binary tensors. None if not sent."""
        name = INFERENCE_HEADER_LENGTH.lower().encode()
        return self.header(name) if self.has_header(name) else None


class RequestHeadCache:
    """Parsed request heads by their bytes. A client repeats the same few heads, so most requests need no parsing."""

    def __init__(self) -> None:
        self._heads: dict[bytes, RequestHead] = {}

    def get(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        """Return head and body if `data` is one whole request with a cached head; else None."""
        end = data.find(END_OF_HEAD, 0, MAX_CACHED_BYTES) + len(END_OF_HEAD)
        head = self._heads.get(data[:end])
        if head is None or head.content_length != len(data) - end:
            return None
        return head, data[end:]

    def put(self, data: bytes, head: RequestHead) -> None:
        """Cache the last head in `data` if `data` is exactly one request and the connection stays open after it.

        Such a request can be served from its head alone, without updating the state of the parser. Heads with a request
        ID of their own are left out, because they hardly occur twice.
        """
        end = data.find(END_OF_HEAD, 0, MAX_CACHED_BYTES) + len(END_OF_HEAD)
        is_whole = end >= len(END_OF_HEAD) and head.content_length == len(data) - end
        if (
            is_whole
            and head.keep_alive
            and not any(map(head.has_header, (b"transfer-encoding", b"upgrade", b"x-request-id")))
        ):
            if len(self._heads) == MAX_CACHED_HEADS:
                self._heads.clear()
            self._heads[data[:end]] = head
