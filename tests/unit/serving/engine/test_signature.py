"""Signed versions: what model-signing signs is accepted, and all else refused."""

import asyncio
from pathlib import Path

import numpy as np
import pytest
import serving_kit as kit
import signing_keys
from cryptography.hazmat.primitives.asymmetric import ec
from model_signing import hashing, signing

from serving.engine.repository import ModelRepository
from serving.engine.signature import TrustedKey
from serving.engine.validation import Validator
from serving.engine.validation_process import ValidationLimits
from serving.errors import ModelRefusedError, StartError


def sign(folder: Path, key: Path) -> None:
    covered = hashing.Config().set_ignored_paths(paths=["model.sig"], ignore_git_paths=False)
    signer = signing.Config().use_elliptic_key_signer(private_key=key).set_hashing_config(covered)
    signer.sign(folder, folder / "model.sig")


@pytest.fixture
def public(tmp_path: Path) -> Path:
    """The public key of the repository in `models`, which holds version 1, signed."""
    random = np.random.default_rng(0)
    weights, bias = random.normal(size=(784, 10)), random.normal(size=10)
    classifier = kit.Classifier([weights.astype(np.float32)], [bias.astype(np.float32)])
    kit.publish(tmp_path / "models", 1, classifier, random.integers(0, 255, (8, 28, 28), np.uint8))
    private, public = signing_keys.write(tmp_path / "keys")
    sign(tmp_path / "models" / kit.NAME / "1", private)
    return public


def read(tmp_path: Path, key: Path) -> None:
    ModelRepository(tmp_path / "models", TrustedKey(key)).read(kit.NAME, 1)


def test_a_signed_version_is_accepted_in_both_processes(tmp_path: Path, public: Path) -> None:
    read(tmp_path, public)
    validator = Validator(tmp_path / "models", ValidationLimits(seconds=60), str(public))
    asyncio.run(validator.validate(kit.NAME, 1))


@pytest.mark.parametrize("curve", [ec.SECP384R1(), ec.SECP521R1()])
def test_larger_curves(tmp_path: Path, public: Path, curve: ec.EllipticCurve) -> None:
    private, larger = signing_keys.write(tmp_path / "larger", curve)
    sign(tmp_path / "models" / kit.NAME / "1", private)
    read(tmp_path, larger)


def test_an_altered_added_or_missing_file_is_refused(tmp_path: Path, public: Path) -> None:
    folder = tmp_path / "models" / kit.NAME / "1"
    for name in ("model.onnx", "model.json", "probe.npz"):
        original = (folder / name).read_bytes()
        (folder / name).write_bytes(original[:-1] + bytes([original[-1] ^ 1]))
        with pytest.raises(ModelRefusedError, match=f"{name} was changed after it was signed"):
            read(tmp_path, public)
        (folder / name).unlink()
        with pytest.raises(ModelRefusedError, match=f"{name} was signed, but is missing"):
            read(tmp_path, public)
        (folder / name).write_bytes(original)
    (folder / "more").write_text("")
    with pytest.raises(ModelRefusedError, match="more was changed after it was signed"):
        read(tmp_path, public)


def test_an_unsigned_version_and_another_key_are_refused(tmp_path: Path, public: Path) -> None:
    _, other = signing_keys.write(tmp_path / "other")
    with pytest.raises(ModelRefusedError, match="not made with the key"):
        read(tmp_path, other)
    (tmp_path / "models" / kit.NAME / "1/model.sig").unlink()
    with pytest.raises(ModelRefusedError, match="not signed"):
        read(tmp_path, public)
    validator = Validator(tmp_path / "models", ValidationLimits(seconds=60), str(public))
    with pytest.raises(ModelRefusedError, match="not signed"):
        asyncio.run(validator.validate(kit.NAME, 1))


@pytest.mark.parametrize("content", [b"", b"null", b"[]", b"{}", b'{"dsseEnvelope": {"payload": "!"}}', b"\xff"])
def test_rubbish_is_no_signature(tmp_path: Path, public: Path, content: bytes) -> None:
    (tmp_path / "models" / kit.NAME / "1/model.sig").write_bytes(content)
    with pytest.raises(ModelRefusedError, match="not a signature of a model"):
        read(tmp_path, public)


def test_a_file_without_a_public_key_stops_the_start(tmp_path: Path, public: Path) -> None:
    for path, reason in (
        (tmp_path / "none", "No such file"),
        (public.with_name(signing_keys.PRIVATE), "no public key in PEM"),
    ):
        with pytest.raises(StartError, match=reason):
            TrustedKey(path)
