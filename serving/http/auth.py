"""Who may call: bearer tokens (RFC 6750), for clients and for admins."""

import hashlib
import hmac
from collections.abc import Sequence

from serving.errors import ForbiddenError, UnauthorizedError


class ApiKeys:
    """Admits requests by their keys.

    Args:
        keys: of clients, separated by commas; spaces around them do not count. With none, everybody is a client.
        admin_keys: of admins, who are clients as well. With none, nobody is an admin.
    """

    def __init__(self, keys: str, admin_keys: str) -> None:
        self._admins = _digests(admin_keys)
        self._clients = _digests(keys)

    def require_client(self, authorization: str) -> None:
        """Check the Authorization header of a client.

        Raises:
            UnauthorizedError: it carries none of the keys.
        """
        if self._clients and not _holds(authorization, (*self._clients, *self._admins)):
            raise UnauthorizedError("send one of the server's keys as Authorization: Bearer")

    def require_admin(self, authorization: str) -> None:
        """Check the Authorization header of an admin.

        Raises:
            ForbiddenError: the server has no admins, or this is a mere client.
            UnauthorizedError: it carries none of the keys.
        """
        if not self._admins:
            raise ForbiddenError("admin calls are off: this server has no admin keys")
        if not _holds(authorization, self._admins):
            if self._clients:
                self.require_client(authorization)
                raise ForbiddenError("this takes a key of an admin")
            raise UnauthorizedError("send one of the server's admin keys as Authorization: Bearer")


def _holds(authorization: str, digests: Sequence[bytes]) -> bool:
    scheme, _, token = authorization.partition(" ")
    given = _digest(token.strip())
    # All are compared, whichever fits, so that the time tells nothing.
    fits = [hmac.compare_digest(given, digest) for digest in digests]
    return scheme.lower() == "bearer" and any(fits)


def _digests(keys: str) -> Sequence[bytes]:
    # Digests are of one length, so that comparing them tells nothing of a key, not even its length.
    return [_digest(key.strip()) for key in keys.split(",") if key.strip()]


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
