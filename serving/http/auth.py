"""API keys: authentication of clients and admins by bearer tokens (RFC 6750)."""

import hashlib
import hmac
from collections.abc import Sequence

from serving.errors import ForbiddenError, UnauthorizedError

SOURCE_DIGITS = 8


class ApiKeys:
    """Checks the keys of requests.

    Args:
        keys: of clients, separated by commas; spaces around a key are ignored. Without any, no key is needed.
        admin_keys: of admins, who are clients as well. Without any, admin requests are refused.
    """

    def __init__(self, keys: str, admin_keys: str) -> None:
        self._admins = _digests(admin_keys)
        self._clients = _digests(keys)

    def source(self, authorization: str) -> str:
        """Return a name for the sender of a request: a prefix of its key's SHA-256; empty if the server is open."""
        return _digest(_token(authorization)).hex()[:SOURCE_DIGITS] if self._clients else ""

    def reviewer(self, authorization: str) -> str:
        """Return a name for the admin who sent a request."""
        return f"admin {_digest(_token(authorization)).hex()[:SOURCE_DIGITS]}"

    def require_client(self, authorization: str) -> None:
        """Check the Authorization header of a client.

        Raises:
            UnauthorizedError: it has none of the keys.
        """
        if self._clients and not _is_any(authorization, (*self._clients, *self._admins)):
            raise UnauthorizedError("send one of the server's keys as Authorization: Bearer")

    def require_admin(self, authorization: str) -> None:
        """Check the Authorization header of an admin.

        Raises:
            ForbiddenError: the server has no admin keys, or the header has a client's key.
            UnauthorizedError: it has none of the keys.
        """
        if not self._admins:
            raise ForbiddenError("admin calls are off: set --admin-keys or MNISTFLOW_SERVE_ADMIN_KEYS")
        if not _is_any(authorization, self._admins):
            if self._clients:
                self.require_client(authorization)
                raise ForbiddenError("this call needs the key of an admin")
            raise UnauthorizedError("send one of the server's admin keys as Authorization: Bearer")


def _is_any(authorization: str, digests: Sequence[bytes]) -> bool:
    given = _digest(_token(authorization))
    # Compares with every key, in constant time each, so that the duration reveals nothing.
    matches = [hmac.compare_digest(given, digest) for digest in digests]
    return authorization.partition(" ")[0].lower() == "bearer" and any(matches)


def _token(authorization: str) -> str:
    return authorization.partition(" ")[2].strip()


def _digests(keys: str) -> Sequence[bytes]:
    # Digests have one length, so that the comparison does not reveal the length of a key.
    return [_digest(key.strip()) for key in keys.split(",") if key.strip()]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
