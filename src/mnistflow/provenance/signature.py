"""Signature of a folder, such as a version's: `model.sig` over all its files, by OpenSSF's model-signing.

The server checks the same file, see `serving.engine.signature`.
"""

from __future__ import annotations

import base64
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

from mnistflow import files
from mnistflow.errors import ConfigError, DataError, RegistryError
from mnistflow.paths import Paths
from mnistflow.registry import registration
from mnistflow.registry.repository import publisher
from mnistflow.registry.versions import Version
from mnistflow.tracking import runs

SIGNATURE = "model.sig"


def require_private_key(key: Path) -> None:
    """Check that a file holds a private key that can sign.

    Raises:
        ConfigError: it does not, or model-signing is not installed.
    """
    with _usable(key):
        from model_signing import signing

        signing.Config().use_elliptic_key_signer(private_key=key)


def sign(paths: Paths, version: Version, key: Path) -> Version:
    """Sign a version with a private key, keep the signature with its bundle, and return the version as it is then.

    A copy of the version in the checkout's repository is written anew.

    Raises:
        ConfigError: the key cannot sign, or model-signing is not installed.
        RegistryError: the artifact store does not have the version's files.
    """
    require_private_key(key)
    with tempfile.TemporaryDirectory(dir=paths.var) as temporary:
        folder = Path(temporary) / version.name
        folder.mkdir()
        publisher.write(paths, _unsigned(version), folder)
        sign_folder(folder, key)
        signed = registration.add_document(runs.resume(version.run_id), version, folder / SIGNATURE)
    with publisher.locked(paths, version.name):
        if (published := publisher.folder_of(paths, version)).is_dir():
            files.remove(published / SIGNATURE)
            publisher.publish(paths, signed)
    return signed


def sign_folder(folder: Path, key: Path) -> None:
    """Sign all files of a folder with a private key.

    Raises:
        ConfigError: the key cannot sign, or model-signing is not installed.
    """
    require_private_key(key)
    from model_signing import hashing, signing

    covered = hashing.Config().set_ignored_paths(paths=[SIGNATURE], ignore_git_paths=False)
    signer = signing.Config().use_elliptic_key_signer(private_key=key).set_hashing_config(covered)
    signer.sign(folder, folder / SIGNATURE)


def verify_folder(folder: Path, key: Path) -> None:
    """Check that a folder is as it was signed by a private key.

    Raises:
        ConfigError: the file holds no private key, or model-signing is not installed.
        RegistryError: the folder is not signed, by another key, or a file differs from what was signed.
    """
    require_private_key(key)
    from cryptography.hazmat.primitives import serialization

    private = serialization.load_pem_private_key(key.read_bytes(), password=None)
    encoding, kind = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    with tempfile.TemporaryDirectory() as temporary:
        public = Path(temporary) / "public.pem"
        public.write_bytes(private.public_key().public_bytes(encoding, kind))
        _verify(folder, public, str(folder))


def verify(paths: Paths, version: Version, key: Path) -> tuple[str, ...]:
    """Check the signature of a version by a public key, where its files are, and return these places.

    Raises:
        ConfigError: the file holds no public key, or model-signing is not installed.
        RegistryError: the version is not signed, by another key, or a file differs from what was signed.
    """
    if SIGNATURE not in version.bundle:
        raise RegistryError(f"{version.title} is not signed", f"`mnistflow sign {version.number}` signs it.")
    with tempfile.TemporaryDirectory(dir=paths.var) as temporary:
        folder = Path(temporary) / version.name
        folder.mkdir()
        publisher.write(paths, version, folder)
        _verify(folder, key, "MLflow")
    published = publisher.folder_of(paths, version)
    if not published.is_dir():
        return ("MLflow",)
    _verify(published, key, str(published))
    return "MLflow", str(published)


def _unsigned(version: Version) -> Version:
    return replace(version, bundle=tuple(name for name in version.bundle if name != SIGNATURE))


def _verify(folder: Path, key: Path, place: str) -> None:
    with _usable(key):
        from model_signing import verifying

        verifier = verifying.Config().use_elliptic_key_verifier(public_key=key)
    if not (folder / SIGNATURE).is_file():
        raise RegistryError(
            f"{place}: {SIGNATURE} is missing",
            "`mnistflow sign` signs versions, `mnistflow feedback golden --sign` golden sets.",
        )
    try:
        verifier.verify(folder, folder / SIGNATURE)
    except Exception as error:  # of several libraries, by whatever the file holds
        names = ", ".join(_differing(folder))
        other = str(error) if isinstance(error, ValueError) else f"{SIGNATURE} is damaged"
        reason = f"{names} not as signed" if names else other
        raise RegistryError(
            f"{place}: the signature is not valid: {reason}",
            "Restore the files, or sign them again if you trust them.",
        ) from error


def _differing(folder: Path) -> list[str]:
    """Return the files that were altered, added or removed, as a signature states them that does not hold."""
    with suppress(DataError, KeyError, TypeError, ValueError):
        payload = json.loads(base64.b64decode(files.read_json(folder / SIGNATURE)["dsseEnvelope"]["payload"]))
        signed = {one["name"]: one["digest"] for one in payload["predicate"]["resources"]}
        found = {path.name: files.sha256(path) for path in folder.iterdir() if path.name != SIGNATURE}
        return sorted(name for name in {**signed, **found} if signed.get(name) != found.get(name))
    return []


@contextmanager
def _usable(key: Path) -> Iterator[None]:
    """Name what is wrong with a key that the block reads.

    Raises:
        ConfigError: it is not usable, or model-signing is not installed.
    """
    try:
        yield
    except ImportError as error:
        raise ConfigError(
            f"signatures need model-signing: {error}", "Install it with `pip install '.[signing]'`."
        ) from error
    except OSError as error:
        raise ConfigError(f"the key {key} cannot be read: {error.strerror}", "Name another file.") from error
    except (ValueError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"{key} is not a key of the required kind in PEM: {error}",
            "`openssl ecparam -name prime256v1 -genkey -noout -out key.pem` creates one, not encrypted.",
        ) from error
