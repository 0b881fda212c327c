"""Pixels are parsed from JSON as a JSON decoder does, with the compiled part and without."""

import json
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving.protocol import pixels

# The program calls nothing of Python, so it is linked without its library.
SANITIZED = (
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-no-pie",
    "-Wl,--unresolved-symbols=ignore-all",
)
needs_compiled = pytest.mark.skipif(
    not pixels.IS_COMPILED,
    reason="serving/protocol/_pixels.c is not compiled: install a C compiler and Python's headers, "
    "then `touch hatch_build.py && make setup`",
)
each_reader = pytest.mark.parametrize(
    "read",
    [
        pytest.param(pixels.pixels_in_python, id="python"),
        pytest.param(pixels.pixels_from_json, id="compiled", marks=needs_compiled),
    ],
)
PIXELS = st.lists(st.integers(0, 255), min_size=1, max_size=40)
SPACE = st.text(" \t\n\r", max_size=2)


@each_reader
@given(values=PIXELS, space=SPACE, before=st.binary(max_size=3), behind=st.binary(max_size=3))
def test_a_list_of_pixels_is_read_wherever_it_stands(read, values, space, before, behind):
    text = f"{space},{space}".join(map(str, values))
    body = before + f"[{space}{text}{space}]".encode() + behind

    assert list(read(body, len(before), len(body) - len(behind), len(values))) == values


@each_reader
@given(text=st.text("[],0123456789.-+e \n\0x", max_size=12).map("[{}]".format), size=st.integers(0, 6))
@example("[true]", 1)
@example("[1, false]", 2)
def test_whatever_is_read_stands_there(read, text, size):
    found = read(text.encode(), 0, len(text), size)
    if found is not None:
        values = json.loads(text)
        assert values == list(found)
        assert all(type(value) is int for value in values)
        assert len(found) == size


@each_reader
@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("[1,2,]", 2),
        ("[1,,2]", 2),
        ("[,1]", 1),
        ("[01]", 1),
        ("[00]", 1),
        ("[1 2]", 1),
        ("[1, 2", 2),
        ("[1]]", 1),
        ("[[1]]", 1),
        ("[256]", 1),
        ("[2550]", 1),
        ("[99999999999999999999999]", 1),
        ("[-1]", 1),
        ("[1.0]", 1),
        ("[1e0]", 1),
        ("[true]", 1),
        ("[null]", 1),
        ('["1"]', 1),
        ("[1, 2, 3]", 2),
        ("[1, 2, 3]", 4),
        ("[1, 2, 3]", 10**12),
        ("[1, 2, 3]", -1),
        ("", 1),
        ("6", 6),
        ("{}", 0),
    ],
)
def test_what_is_no_list_of_as_many_pixels_is_not_read(read, text, size):
    assert read(text.encode(), 0, len(text), size) is None


@each_reader
@given(values=PIXELS, space=SPACE, cut=st.integers(1, 200))
def test_nothing_is_read_beyond_the_end(read, values, space, cut):
    text = f"[{f'{space},{space}'.join(map(str, values))}{space}]".encode()

    assert read(text, 0, max(0, len(text) - cut), len(values)) is None
    assert read(text, len(text), len(text) + cut, len(values)) is None
    assert read(text, len(text), -cut, len(values)) is None


def test_the_compiled_part_touches_no_memory_but_its_own(tmp_path):
    compiler = shutil.which("cc")
    program = tmp_path / "program"
    (tmp_path / "empty.c").write_text("int main(void) { return 0; }")
    if (
        not compiler
        or subprocess.run([compiler, *SANITIZED, tmp_path / "empty.c", "-o", program], check=False).returncode
    ):
        pytest.skip("no C compiler with sanitizers: install gcc and libc6-dev, or clang")
    include = Path(sysconfig.get_path("include"))
    if not (include / "Python.h").is_file():
        pytest.skip(f"{include} has no Python.h: install Python's headers, such as python3-dev")
    source = Path(__file__).with_name("read_random_lists.c")
    subprocess.run([compiler, *SANITIZED, "-g", "-O1", f"-I{include}", source, "-o", program], check=True)

    done = subprocess.run([program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 10_000  # so many of the texts were lists of pixels
