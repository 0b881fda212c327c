"""Who may call: bearer tokens (RFC 6750)."""

import hashlib
import hmac
from collections.abc import Sequence

from serving.errors import UnauthorizedError


class Access:
    """Admits requests that carry one of the keys; all of them when there are none.

    Args:
        keys: separated by commas; spaces around them do not count.
    """

    def __init__(self, keys: str) -> None:
        # Digests are of one length, so that comparing them tells nothing of a key, not even its length.
        self._digests: Sequence[bytes] = [_digest(key.strip()) for key in keys.split(",") if key.strip()]

    def admit(self, authorization: str) -> None:
        """Check the Authorization header of a request.

        Raises:
            UnauthorizedError: it carries none of the keys.
        """
        if not self._digests:
            return
        scheme, _, token = authorization.partition(" ")
        given = _digest(token.strip())
        # All are compared, whichever fits, so that the time tells nothing either.
        fits = [hmac.compare_digest(given, digest) for digest in self._digests]
        if scheme.lower() != "bearer" or not any(fits):
            raise UnauthorizedError("send one of the server's keys as Authorization: Bearer")


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
