"""Pixels are read from JSON as a decoder of JSON reads them, with the compiled part and without."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from serving import pixels

READERS = {"python": pixels.pixels_in_python, "compiled": pixels.pixels_from_json}
without_compiler = pytest.mark.skipif(
    not pixels.IS_COMPILED, reason="serving/_pixels.c is not compiled: install a C compiler, then `make clean setup`"
)
each_reader = pytest.mark.parametrize(
    "read", [pytest.param(READERS["python"], id="python"), pytest.param(READERS["compiled"], marks=without_compiler)]
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
@example("[1,2,]", 2)
@example("[1,,2]", 2)
@example("[,1]", 1)
@example("[01]", 1)
@example("[00]", 1)
@example("[1 2]", 1)
@example("[256]", 1)
@example("[2550]", 1)
@example("[99999999999999999999999]", 1)
@example("[-0]", 1)
@example("[1.0]", 1)
@example("[true]", 1)
@example("[[1]]", 1)
@example("[1]]", 1)
@example("[1", 1)
@example("[1, 2", 2)
@example("", 1)
@example("[]", 1)
@example('["1"]', 1)
@example("6", 6)
@example("{}", 0)
def test_what_is_no_list_of_as_many_pixels_is_not_read(read, text, size):
    found = read(text.encode(), 0, len(text), size)
    if found is not None:
        assert json.loads(text) == list(found)
        assert len(found) == size


@each_reader
@given(values=PIXELS, cut=st.integers(0, 200), size=st.integers(-2, 10**9))
@example([1], 0, -1)
@example([1], 0, 0)
def test_nothing_is_read_beyond_the_end(read, values, cut, size):
    text = json.dumps(values).encode()
    stop = max(0, len(text) - 1 - cut)

    assert read(text, 0, stop, len(values)) is None
    assert read(text, -1, len(text), len(values)) is None
    assert read(text, len(text), len(text) + cut, len(values)) is None
    assert read(text, 0, len(text), size) is None or size == len(values)
