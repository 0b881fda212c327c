"""Signature of a version: `model.sig` in its folder, in the format of OpenSSF's model-signing.

The file is a Sigstore bundle around a DSSE envelope (https://github.com/secure-systems-lab/dsse), whose payload is an
in-toto statement with the SHA-256 of every file. Only signatures by a key are read, not those by certificates.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import orjson

from serving.errors import ModelRefusedError, StartError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

SIGNATURE = "model.sig"
PAYLOAD_TYPE = "application/vnd.in-toto+json"
PREDICATE_TYPE = "https://model_signing/signature/v1.0"


class TrustedKey:
    """The public key that versions have to be signed with.

    Args:
        path: file with the key, PEM, on one of NIST's curves P-256, P-384 and P-521.

    Raises:
        StartError: the file holds no such key, or the package `cryptography` is missing.
    """

    def __init__(self, path: Path) -> None:
        self._key = _load(path)

    def check(self, files: Mapping[str, bytes]) -> None:
        """Check the files of a version, by name, `model.sig` among them.

        Raises:
            ModelRefusedError: the version is not signed with this key, or a file was added, removed or altered.
        """
        if SIGNATURE not in files:
            raise ModelRefusedError(f"it is not signed: {SIGNATURE} is missing; `mnistflow sign` makes it")
        signed = self._signed_hashes(files[SIGNATURE])
        for name, content in sorted(files.items()):
            if name != SIGNATURE and signed.pop(name, None) != hashlib.sha256(content).hexdigest():
                raise ModelRefusedError(f"{name} was changed after it was signed")
        if signed:
            raise ModelRefusedError(f"{min(signed)} was signed, but is missing")

    def _signed_hashes(self, signature: bytes) -> dict[str, str]:
        """Return the signed SHA-256 of each file, hexadecimal, by name."""
        try:
            envelope = orjson.loads(signature)["dsseEnvelope"]
            payload = base64.b64decode(envelope["payload"], validate=True)
            (entry,) = envelope["signatures"]
            self._verify(base64.b64decode(entry["sig"], validate=True), payload)
            statement = orjson.loads(payload)
            if envelope["payloadType"] != PAYLOAD_TYPE or statement["predicateType"] != PREDICATE_TYPE:
                raise ModelRefusedError(f"{SIGNATURE} signs something other than a model")
            resources = statement["predicate"]["resources"]
            return {one["name"]: one["digest"] for one in resources if one["algorithm"] == "sha256"}
        except (KeyError, TypeError, ValueError) as error:
            raise ModelRefusedError(f"{SIGNATURE} is not a signature of a model") from error

    def _verify(self, signature: bytes, payload: bytes) -> None:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        algorithm = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[self._key.key_size]
        encoded = b"DSSEv1 %d %b %d %b" % (len(PAYLOAD_TYPE), PAYLOAD_TYPE.encode(), len(payload), payload)
        try:
            self._key.verify(signature, encoded, ec.ECDSA(algorithm))
        except InvalidSignature:
            raise ModelRefusedError(f"{SIGNATURE} was not made with the key that this server trusts") from None


def _load(path: Path) -> EllipticCurvePublicKey:
    try:
        from cryptography.exceptions import UnsupportedAlgorithm
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.serialization import load_pem_public_key
    except ImportError:
        raise StartError("--public-key needs the extra verify. Install it: pip install '.[serving,verify]'.") from None
    try:
        key = load_pem_public_key(path.read_bytes())
    except OSError as error:
        raise StartError(f"--public-key: {path}: {error.strerror}.") from None
    except (ValueError, UnsupportedAlgorithm):
        raise StartError(f"--public-key: {path} holds no public key in PEM.") from None
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in ("secp256r1", "secp384r1", "secp521r1"):
        raise StartError(f"--public-key: {path} holds no key on the curves P-256, P-384 or P-521.")
    return key
