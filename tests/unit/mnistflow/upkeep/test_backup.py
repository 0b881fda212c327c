"""Which files of `var/` an archive contains."""

from pathlib import Path

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
