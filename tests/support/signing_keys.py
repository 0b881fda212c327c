"""Keys that sign versions, made for a test."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

PRIVATE, PUBLIC = "signing.pem", "signing.pub.pem"


def write(folder: Path, curve: ec.EllipticCurve | None = None) -> tuple[Path, Path]:
    """Write a new private key and its public key into a folder, and return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(curve or ec.SECP256R1())
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / PRIVATE).write_bytes(private)
    (folder / PUBLIC).write_bytes(public)
    return folder / PRIVATE, folder / PUBLIC
