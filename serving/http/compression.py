"""Compression of bodies: inflates request bodies, deflates response bodies, and negotiates the encoding."""

import zlib

from serving.errors import InvalidRequestError, TooLargeError

IDENTITY = "identity"
# The `wbits` of zlib for each supported Content-Encoding.
WINDOW_BITS = {"gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
ZERO_WEIGHTS = frozenset({"q=0", "q=0.0", "q=0.00", "q=0.000"})


def inflate(body: bytes, encoding: str, max_bytes: int) -> bytes:
    """Decompress a request body.

    Raises:
        TooLargeError: it has more than `max_bytes` once decompressed.
        InvalidRequestError: it is not valid in this encoding.
    """
    inflater = zlib.decompressobj(WINDOW_BITS[encoding])
    try:
        content = inflater.decompress(body, max_bytes + 1)
    except zlib.error:
        raise InvalidRequestError(f"the body is not valid {encoding}") from None
    if len(content) > max_bytes:
        raise TooLargeError(f"the body is larger than {max_bytes} bytes once decompressed")
    if not inflater.eof or inflater.unused_data:
        raise InvalidRequestError(f"the body is not valid {encoding}")
    return content


def deflate(body: bytes, encoding: str) -> bytes:
    """Compress a response body, at the fastest level."""
    return zlib.compress(body, 1, WINDOW_BITS[encoding])


def accepted_encoding(accept_encoding: str) -> str | None:
    """Return the first encoding of an Accept-Encoding header that is supported here (RFC 9110, 12.5.3)."""
    for entry in accept_encoding.lower().split(","):
        encoding, _, weight = entry.partition(";")
        if encoding.strip() in WINDOW_BITS and weight.replace(" ", "") not in ZERO_WEIGHTS:
            return encoding.strip()
    return None
