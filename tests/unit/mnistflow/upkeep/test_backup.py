"""Which files of `var/` an archive contains."""

from pathlib import Path

import pytest

from mnistflow.errors import ConfigError
from mnistflow.paths import Paths
from mnistflow.upkeep import backup, restoration


def checkout(folder: Path) -> Paths:
    (folder / "var").mkdir(parents=True)
    return Paths(folder, folder)


def contents(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_linked_folders_are_copied_and_restored_as_plain_ones(tmp_path: Path) -> None:
    original, copy = checkout(tmp_path / "original"), checkout(tmp_path / "copy")
    disk = tmp_path / "disk"
    for place in ("artifacts/run/model.onnx", "cache/files/md5/ab/cd"):
        (disk / place).parent.mkdir(parents=True)
        (disk / place).write_text(place)
    original.mlflow.mkdir()
    (original.mlflow / "artifacts").symlink_to(disk / "artifacts")
    (original.var / "dvc").symlink_to(disk)
    (disk / "cache/again").symlink_to(disk / "cache/files")
    backup.write(original, tmp_path / "backup.tar.gz")
    restoration.restore(copy, tmp_path / "backup.tar.gz", replace=False)
    assert contents(copy.var) == {
        "mlflow/artifacts/run/model.onnx": "artifacts/run/model.onnx",
        "dvc/artifacts/run/model.onnx": "artifacts/run/model.onnx",
        "dvc/cache/files/md5/ab/cd": "cache/files/md5/ab/cd",
        "dvc/cache/again/md5/ab/cd": "cache/files/md5/ab/cd",
    }
    assert not any(path.is_symlink() for path in copy.var.rglob("*"))


def test_a_linked_var_is_one_folder_and_files_keep_their_modes(tmp_path: Path) -> None:
    """`var` is on another disk; the archive may not be there, and a restoration replaces what is there."""
    disk = tmp_path / "disk/data"
    (disk / "team").mkdir(parents=True)
    (tmp_path / "checkout").mkdir()
    paths = Paths(tmp_path / "checkout", tmp_path / "checkout")
    paths.var.symlink_to(disk)
    for name, mode in (("secrets.json", 0o600), ("program", 0o755)):
        (disk / "team" / name).write_text(name)
        (disk / "team" / name).chmod(mode)
    with pytest.raises(ConfigError, match="is in var/"):
        backup.write(paths, disk / "backup.tar.gz")
    backup.write(paths, tmp_path / "backup.tar.gz")
    (disk / "later").write_text("")
    restoration.restore(paths, tmp_path / "backup.tar.gz", replace=True)
    assert paths.var.is_symlink()
    assert contents(disk) == {"team/secrets.json": "secrets.json", "team/program": "program"}
    assert [(disk / "team" / name).stat().st_mode & 0o777 for name in ("secrets.json", "program")] == [0o600, 0o755]
    assert [path.name for path in disk.parent.iterdir()] == ["data"]


def test_the_data_of_a_postgresql_server_is_left_out(tmp_path: Path) -> None:
    paths = checkout(tmp_path / "checkout")
    assert not backup.has_postgresql(paths)
    (paths.var / "team/postgresql/data").mkdir(parents=True)
    (paths.var / "team/postgresql/data/PG_VERSION").write_text("15")
    (paths.var / "team/secrets.json").write_text("{}")
    assert backup.has_postgresql(paths)
    assert backup.write(paths, tmp_path / "backup.tar.gz").files == 1


def test_links_to_folders_that_contain_them_are_left_out(tmp_path: Path) -> None:
    paths = checkout(tmp_path / "checkout")
    for name, other in (("one", "two"), ("two", "one")):
        (paths.var / name).mkdir()
        (paths.var / name / "file").write_text(name)
        (paths.var / name / "other").symlink_to(paths.var / other)
    (paths.var / "one/var").symlink_to(paths.var)
    (paths.var / "checkout").symlink_to(paths.checkout)
    assert backup.write(paths, tmp_path / "backup.tar.gz").files == 4  # each file, and each once more by a link


def test_links_without_a_target_are_named(tmp_path: Path) -> None:
    paths = checkout(tmp_path)
    assert backup.broken_links(paths) == []
    paths.mlflow.mkdir()
    (paths.mlflow / "artifacts").symlink_to(tmp_path / "not mounted")
    assert backup.broken_links(paths) == ["var/mlflow/artifacts"]
