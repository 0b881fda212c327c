"""Entries of tar archives that stay in their folder, and those that lead out of it."""

import io
import tarfile
from pathlib import Path

import pytest

from mnistflow import archives


def archive_of(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarFile:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as written:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname = kind, target
        written.addfile(entry)
    content.seek(0)
    return tarfile.open(fileobj=content)


def test_a_file_in_the_folder_is_extracted(tmp_path: Path) -> None:
    with archive_of("deep/file") as archive:
        archives.extract(archive, archive.getmembers()[0], tmp_path)
    assert (tmp_path / "deep/file").is_file()


@pytest.mark.parametrize(
    ("name", "kind", "target"),
    [("../file", tarfile.REGTYPE, ""), ("link", tarfile.SYMTYPE, "../../file"), ("pipe", tarfile.FIFOTYPE, "")],
)
def test_nothing_leads_out_of_the_folder(name: str, kind: bytes, target: str, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with archive_of(name, kind, target) as archive, pytest.raises(tarfile.TarError):
        archives.extract(archive, archive.getmembers()[0], folder)
    assert list(tmp_path.rglob("*")) == [folder]
