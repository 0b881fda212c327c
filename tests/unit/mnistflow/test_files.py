"""Files that are whole or not there."""

import signal
import subprocess
import sys
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from mnistflow import files
from mnistflow.errors import DataError

SLOW_WRITER = """
import sys, time
from pathlib import Path
from mnistflow.files import atomic_write
with atomic_write(Path(sys.argv[1])) as path:
    with path.open("w") as stream:
        stream.write("half"); stream.flush()
        print("writing", flush=True)
        time.sleep(60)
"""


def test_a_kill_in_the_middle_leaves_the_old_file(tmp_path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    writer = subprocess.Popen([sys.executable, "-c", SLOW_WRITER, str(target)], stdout=subprocess.PIPE, text=True)
    assert writer.stdout
    assert writer.stdout.readline() == "writing\n"
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert target.read_text() == "old"


def test_an_error_leaves_the_old_file_and_no_other(tmp_path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(RuntimeError), files.atomic_write(target) as path:
        path.write_text("half")
        raise RuntimeError
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
    assert target.read_text() == "old"


def test_a_folder_is_replaced_whole(tmp_path) -> None:
    target = tmp_path / "folder"
    for content in ("first", "second"):
        with files.atomic_write(target) as folder:
            folder.mkdir()
            (folder / content).touch()
    assert [path.name for path in target.iterdir()] == ["second"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_damaged_file_is_named_with_the_fix_of_its_reader(tmp_path) -> None:
    (tmp_path / "file.json").write_text("{")
    for path in (tmp_path / "file.json", tmp_path / "missing.json"):
        for fix, shown in (({}, "dvc repro"), ({"fix": files.DELETE}, "Delete that file.")):
            with pytest.raises(DataError, match=path.name) as error:
                files.read_json(path, **fix)
            assert shown in error.value.fix


def replace_interrupted(target: Path, line: int) -> bool:
    """Replace a folder, with an interrupt before this line that `files` executes, counted; return whether it came."""
    seen = 0

    def trace(frame: FrameType, event: str, _: object) -> Callable[..., Any] | None:
        nonlocal seen
        if frame.f_code.co_filename != files.__file__:
            return None
        seen += event == "line"
        if event == "line" and seen == line:
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with files.atomic_write(target) as folder:
            folder.mkdir()
            (folder / "new").touch()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_an_interrupt_at_any_line_leaves_the_old_folder_or_the_new_one(tmp_path) -> None:
    left = []
    for line in count(1):
        target = tmp_path / str(line) / "folder"
        target.mkdir(parents=True)
        (target / "old").touch()
        is_interrupted = replace_interrupted(target, line)
        left.append([path.name for path in target.iterdir()])
        if not is_interrupted:
            break
    assert set(map(tuple, left)) == {("old",), ("new",)}
    assert left[-1] == ["new"]
    assert len(left) > 10


def test_a_folder_survives_a_block_that_writes_nothing(tmp_path) -> None:
    target = tmp_path / "folder"
    target.mkdir()
    (target / "old").touch()
    with pytest.raises(DataError), files.atomic_write(target):
        pass
    assert [path.name for path in target.iterdir()] == ["old"]
    assert [path.name for path in tmp_path.iterdir()] == ["folder"]


def test_a_place_that_cannot_be_written_is_one_line(tmp_path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"cannot write .*file/below") as caught:
        files.write_json(tmp_path / "file/below", {})
    assert "\n" not in str(caught.value)


def test_broken_json_is_one_line(tmp_path) -> None:
    (tmp_path / "a.json").write_text("{")
    for path in (tmp_path / "a.json", Path(tmp_path / "none.json")):
        with pytest.raises(DataError) as caught:
            files.read_json(path)
        assert "\n" not in str(caught.value)
