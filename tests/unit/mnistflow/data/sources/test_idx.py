"""The IDX format: round trip, and every way a file can be wrong."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest

from mnistflow.data.sources import idx
from mnistflow.errors import DataError

ARRAY = np.arange(2 * 28 * 28, dtype=np.uint8).reshape(2, 28, 28)


@pytest.fixture
def plain(tmp_path: Path) -> bytes:
    return idx.write(tmp_path / "good", ARRAY).read_bytes()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_what_is_written_is_read(tmp_path: Path, plain: bytes, pack) -> None:
    (tmp_path / "file").write_bytes(pack(plain))
    assert np.array_equal(idx.read(tmp_path / "file"), ARRAY)


def truncated_gzip(content: bytes) -> bytes:
    return gzip.compress(content)[:-20]


def gzip_with_a_wrong_checksum(content: bytes) -> bytes:
    packed = bytearray(gzip.compress(content))
    packed[-8] ^= 1
    return bytes(packed)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (truncated_gzip, "end"),
        (gzip_with_a_wrong_checksum, "CRC"),
        (lambda content: content[:-1], "truncated by 1 bytes"),
        (lambda content: content + b"x", "more bytes than"),
        (lambda content: b"\x00\x00\x09\x63" + content[4:], "truncated|magic|declares"),
        (lambda content: b"PNG!" + content[4:], "wrong magic number"),
        (lambda content: content[:4] + struct.pack(">I", 2**31) + content[8:], "header declares"),
        (lambda content: b"", "truncated"),
    ],
)
def test_a_wrong_file_is_named_with_the_reason(tmp_path: Path, plain: bytes, damage, message: str) -> None:
    path = tmp_path / "bad-ubyte.gz"
    path.write_bytes(damage(plain))
    with pytest.raises(DataError, match=message) as raised:
        idx.read(path)
    assert str(path) in str(raised.value)
    assert "mnistflow fetch" in str(raised.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is missing"):
        idx.read(tmp_path / "none")
