"""Signature of a registered version: made at its registration, checked by the command and by the server."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import signing_keys
from checkouts import Checkout

from serving.engine.repository import ModelRepository
from serving.engine.signature import TrustedKey
from serving.errors import ModelRefusedError

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("retrained")]

NAME = "digits-classifier"
FILES = ("model.onnx", "model.json", "probe.npz", "model-card.md", "croissant.json", "bom.json")


@pytest.fixture
def published(retrained: Checkout) -> Iterator[Path]:
    """The folder of version 1, which is as before after the test."""
    folder = retrained.folder / "var/models" / NAME / "1"
    original = retrained.folder / "var/original"
    shutil.copytree(folder, original)
    yield folder
    shutil.rmtree(folder)
    original.rename(folder)


@pytest.fixture
def public(retrained: Checkout) -> Path:
    return retrained.folder / "var" / signing_keys.PUBLIC


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_version_is_signed_when_it_is_registered(retrained: Checkout, published: Path, public: Path) -> None:
    assert {path.name for path in published.iterdir()} == {*FILES, "model.sig"}
    output = retrained.run("verify", "1", "--key", str(public)).stdout
    assert output.startswith(f"as signed: {NAME} version 1 in MLflow and ")
    assert ModelRepository(published.parents[1], TrustedKey(public)).read(NAME, 1).manifest.version == 1


def test_an_altered_byte_is_found(retrained: Checkout, published: Path, public: Path) -> None:
    server = ModelRepository(published.parents[1], TrustedKey(public))
    for name in FILES:
        original = (published / name).read_bytes()
        alter(published / name)
        with pytest.raises(ModelRefusedError, match=f"{name} was changed after it was signed"):
            server.read(NAME, 1)
        (published / name).write_bytes(original)
    alter(published / "bom.json")
    done = retrained.run("verify", "1", "--key", str(public), check=False)
    assert done.returncode == 1
    assert "the signature is not valid: bom.json not as signed" in done.stderr


@pytest.mark.long
def test_another_key_is_told_apart_and_can_sign_again(
    retrained: Checkout, published: Path, public: Path, tmp_path: Path
) -> None:
    private, other = signing_keys.write(tmp_path)
    done = retrained.run("verify", "1", "--key", str(other), check=False)
    assert done.returncode == 1
    assert "MLflow: the signature is not valid" in done.stderr
    retrained.run("sign", "1", "--key", str(private))
    assert "as signed" in retrained.run("verify", "1", "--key", str(other)).stdout
    with pytest.raises(ModelRefusedError, match="not made with the key"):
        ModelRepository(published.parents[1], TrustedKey(public)).read(NAME, 1)
    retrained.run("sign", "1", "--key", str(retrained.folder / "var" / signing_keys.PRIVATE))


def test_a_file_that_is_no_key(retrained: Checkout) -> None:
    params = str(retrained.folder / "params.yaml")
    for command in ("sign", "verify"):
        done = retrained.run(command, "1", "--key", params, check=False)
        assert done.returncode == 1
        assert "is not a key of the required kind in PEM" in done.stderr
    assert "no key is given" in retrained.run("sign", "1", check=False).stderr
