"""Backup of a checkout that is in use, and its restoration in another one."""

import json
import shutil
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from threading import Event, Thread

import pytest
from checkouts import Checkout, checkout_environment, copy_checkout
from configured import configured
from waiting import wait_until

from mnistflow.checkout import service_lock
from mnistflow.errors import ConfigError, DataError, MnistflowError
from mnistflow.paths import Paths
from mnistflow.pipeline import workspace
from mnistflow.tracking import runs
from mnistflow.upkeep import backup, restoration
from serving.inference_log.store import LogStore

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture(scope="module")
def used(retrained: Checkout, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A checkout where a server logs requests, and a run and its workspace are under way."""
    copy = copy_checkout(retrained.folder, tmp_path_factory.mktemp("used") / "checkout")
    paths = Paths(copy.folder, copy.folder)
    ended = Event()

    def serve() -> None:
        log = LogStore(str(paths.var / "inferences.db"))
        number = 0
        while not ended.wait(0.001):
            log.insert([(str(number), 0, time.time(), "digits-classifier", 1, b"\0" * 784, "[28,28]", "[]", "[]")])
            number += 1
        log.close()

    server = Thread(target=serve)
    server.start()
    with configured(paths):
        runs.start(paths, "digits", "under way", kind="retrain")
        workspace.create(paths, {})
    yield copy
    ended.set()
    server.join()


@pytest.fixture(scope="module")
def archive(used: Checkout) -> Path:
    target = used.folder.parent / "backup.tar.gz"
    done = backup.write(Paths(used.folder, used.folder), target)
    assert done.files > 100 and done.bytes > target.stat().st_size
    assert [path.name for path in target.parent.iterdir() if path != used.folder] == [target.name]
    return target


def clone(original: Checkout, folder: Path) -> Checkout:
    shutil.copytree(original.folder, folder, ignore=shutil.ignore_patterns("var", "dvc.lock", ".git"))
    return Checkout(folder, checkout_environment())


def test_a_restored_copy_compares_and_serves_as_before(used: Checkout, archive: Path, tmp_path: Path) -> None:
    copy = clone(used, tmp_path / "clone")
    assert "files restored" in copy.run("restore", str(archive)).stdout
    for command in (("leaderboard", "--json"), ("history", "--json")):
        assert json.loads(copy.run(*command).stdout) == json.loads(used.run(*command).stdout)
    before, after = (json.loads(one.run("status", "--json").stdout) for one in (used, copy))
    for key in ("champion", "serving", "serving_is_whole", "outputs"):
        assert after[key] == before[key]
    assert after["serving_is_whole"] and after["outputs"]["mismatch"] is None
    assert copy.query("select distinct status from runs") == [("FINISHED",), ("KILLED",)]
    assert not list((copy.folder / "var/runs").glob(f"*/{workspace.OWNER}"))
    assert "unchanged" in copy.run("retrain").stdout
    for path in (copy.folder / "var").rglob("*.db"):
        with closing(sqlite3.connect(path)) as database:
            assert database.execute("pragma integrity_check").fetchall() == [("ok",)]
    with closing(sqlite3.connect(copy.folder / "var/inferences.db")) as log:
        ((rows, last),) = log.execute("select count(*), max(rowid) from inferences")
        assert rows == last > 0


def test_what_is_there_is_replaced_only_if_asked_to(archive: Path, tmp_path: Path) -> None:
    paths = Paths(tmp_path, tmp_path)
    (paths.var / "models").mkdir(parents=True)
    restoration.restore(paths, archive, replace=False)  # folders alone are nothing to lose
    (paths.var / "own").write_text("own")
    with pytest.raises(MnistflowError, match=r"var is not empty\. Restore into another checkout, or replace it"):
        restoration.restore(paths, archive, replace=False)
    assert (paths.var / "own").exists()
    restoration.restore(paths, archive, replace=True)
    assert not (paths.var / "own").exists() and (paths.mlflow / "mlflow.db").is_file()


@pytest.mark.parametrize("damage", ["cut off", "changed", "empty", "something else"])
def test_a_damaged_archive_is_one_line_and_changes_nothing(archive: Path, tmp_path: Path, damage: str) -> None:
    content = bytearray(archive.read_bytes())
    middle = len(content) // 2
    content[middle] ^= 1
    damages = {"cut off": content[:middle], "changed": content, "empty": b"", "something else": b"text" * 999}
    (tmp_path / "damaged.tar.gz").write_bytes(bytes(damages[damage]))
    home = tmp_path / "home"
    (home / "var").mkdir(parents=True)
    with pytest.raises(DataError, match="is not a complete backup") as raised:
        restoration.restore(Paths(home, home), tmp_path / "damaged.tar.gz", replace=False)
    assert len(str(raised.value).splitlines()) == 1
    assert list(home.iterdir()) == [home / "var"]
    assert [path.name for path in (home / "var").iterdir()] == [service_lock.FILE]


def test_a_kill_leaves_no_half_written_archive(used: Checkout, tmp_path: Path) -> None:
    process = used.start("backup", str(tmp_path / "backup.tar.gz"))
    wait_until(lambda: any(str(tmp_path) in target for target in open_files(process.pid)), process)
    process.kill()
    process.wait()
    assert not list(tmp_path.iterdir())


def open_files(pid: int) -> list[str]:
    """Return what a process has open, also files without a name."""
    found = []
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):
            found.append(str(path.readlink()))
    return found


def test_an_archive_in_var_would_be_part_of_itself(used: Checkout) -> None:
    paths = Paths(used.folder, used.folder)
    with pytest.raises(ConfigError, match="is in var/"):
        backup.write(paths, paths.var / "backup.tar.gz")
    assert not (paths.var / "backup.tar.gz").exists()
