"""TLS: a certificate and its private key, loaded again when their files change, without a pause."""

import logging
import ssl
from pathlib import Path
from typing import NamedTuple

from serving.errors import StartError

log = logging.getLogger(__name__)

# Changes when a file is written or replaced, also through a symbolic link, as Kubernetes replaces secrets.
Stamp = tuple[tuple[int, int, int], ...]


class KeyPair(NamedTuple):
    """Private key and certificate chain in PEM form."""

    key: bytes
    chain: bytes


class Certificate:
    """The certificate of a server.

    Every handshake uses the current content of the files; the previous pair while certificate and key do not match.

    Args:
        chain: file with the certificate and those of intermediate authorities, PEM.
        key: file with the private key, PEM, not encrypted.

    Attributes:
        context: for servers of `ssl`.
        pair: content of the files, as last loaded.

    Raises:
        StartError: a file cannot be read, or the two do not fit together.
    """

    def __init__(self, chain: Path, key: Path) -> None:
        self._chain, self._key = chain, key
        self._stamp: Stamp = ()
        try:
            self._stamp = self._read_stamp()
            self._current, self.pair = self._load()
        except (OSError, ssl.SSLError) as error:
            raise StartError(
                f"cannot use {chain} and {key} for TLS ({_reason(error)}). Give --tls-cert and --tls-key files in PEM "
                "form that belong together."
            ) from None
        self.context, _ = self._load()
        # Called in every handshake, whether or not the client names a server.
        self.context.sni_callback = self._use_current

    def refresh(self) -> KeyPair:
        """Load the files again if they have changed, and return the pair that fits together."""
        try:
            stamp = self._read_stamp()
            if stamp != self._stamp:
                self._stamp = stamp
                self._current, self.pair = self._load()
                log.info("the certificate was reloaded, because its files have changed")
        except (OSError, ssl.SSLError) as error:
            log.error("the new certificate cannot be used, the previous one stays in use (%s)", _reason(error))
        return self.pair

    def _use_current(self, connection: ssl.SSLObject, _: str | None, __: ssl.SSLContext) -> None:
        self.refresh()
        connection.context = self._current

    def _read_stamp(self) -> Stamp:
        stats = [path.stat() for path in (self._chain, self._key)]
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)

    def _load(self) -> tuple[ssl.SSLContext, KeyPair]:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        # Without a callback, OpenSSL would ask for the password of an encrypted key on the terminal.
        context.load_cert_chain(self._chain, self._key, password=str)
        return context, KeyPair(self._key.read_bytes(), self._chain.read_bytes())


def _reason(error: OSError | ssl.SSLError) -> str:
    return str(getattr(error, "reason", None) or error.strerror)
