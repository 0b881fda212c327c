"""Request cache: the result is that of parsing without a cache, in any order of requests."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.errors import InvalidRequestError
from serving.protocol import pixels
from serving.protocol.json_request import parse_request
from serving.protocol.request_cache import MAX_ENTRIES, RequestCache
from serving.protocol.tensors import TensorSpec

INPUTS = {"x": TensorSpec("x", "UINT8", (-1, 2, 2))}
WIDE = {"x": TensorSpec("x", "FP32", (-1, 2))}
OUTPUTS = {"a": TensorSpec("a", "FP32", (-1, 2)), "b": TensorSpec("b", "INT64", (-1,))}
MAX_ROWS = 4
VALUES = [1, 2, 3, 4]


def request(data, shape=(1, 2, 2), **keys):
    return {"inputs": [{"name": "x", "shape": list(shape), "datatype": "UINT8", "data": data}], **keys}


def outcome(read, *arguments):
    """What reading gives, or how it fails, in a form that can be compared."""
    try:
        found = read(*arguments)
    except InvalidRequestError as error:
        return str(error)
    return found.id, {name: (array.dtype, array.tolist()) for name, array in found.inputs.items()}, found.outputs


def agree(bodies, inputs=INPUTS):
    """Check that a reader gives for each, in turn, what it gives for it alone: with the compiled part, and without."""
    for read_pixels in (pixels.pixels_from_json, pixels.pixels_in_python):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("serving.protocol.request_cache.pixels_from_json", read_pixels)
            cache = RequestCache(inputs, OUTPUTS)
            for body, header_length in bodies:
                anew = outcome(parse_request, body, header_length, inputs, OUTPUTS, MAX_ROWS)
                assert outcome(cache.parse, body, header_length, MAX_ROWS) == anew


TEXTS = {
    "other values": "[5, 6, 7, 8]",
    "without spaces": "[5,6,7,8]",
    "points": "[5.0, 6.0, 7.0, 8.0]",
    "exponents": "[1e2, 6, 7, 8]",
    "truths": "[true, false, 1, 0]",
    "nothing": "[null, 6, 7, 8]",
    "texts": '["5", 6, 7, 8]',
    "too large": "[256, 6, 7, 8]",
    "far too large": f"[{10**30}, 6, 7, 8]",
    "negative": "[-1, 6, 7, 8]",
    "too few": "[5, 6, 7]",
    "too many": "[5, 6, 7, 8, 9]",
    "none": "[]",
    "nested": "[[[5, 6], [7, 8]]]",
    "not closed": "[5, 6, 7, 8",
    "two lists": "[5, 6, 7, 8], [5, 6, 7, 8]",
    "a comma too many": "[5, 6, 7, 8,]",
    "no numbers": "[x]",
    "a zero byte": "[5, 6, 7, 8]\0",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_other_data_between_the_same_text_are_read_as_they_would_be_alone(text):
    known = json.dumps(request(VALUES)).encode()
    body = known.replace(b"[1, 2, 3, 4]", text.encode())
    assert body != known
    agree([(known, None), (body, None), (known, None)])


TREES = {
    "data first": '{"inputs": [{"data": [1,2,3,4], "name": "x", "shape": [1,2,2], "datatype": "UINT8"}]}',
    "data twice": '{"inputs": [{"name": "x", "shape": [1,2,2], "datatype": "UINT8", "data": [1,2,3,4], "data": [9]}]}',
    "data before": '{"data": [1,2,3,4], "inputs": [{"name": "x", "shape": [1,2,2], "datatype": "UINT8", "data": [1]}]}',
    "an id": '{"id": "data", "inputs": [{"name": "x", "shape": [1,2,2], "datatype": "UINT8", "data": [1,2,3,4]}]}',
    "as a value": '{"inputs": [{"name": "x", "datatype": "UINT8", "t": "data", "shape": [1,2,2], "data": [1,2,3,4]}]}',
    "outputs": '{"outputs": [{"name": "b"}], '
    '"inputs": [{"name": "x", "shape": [1,2,2], "datatype": "UINT8", "data": [1,2,3,4]}]}',
    "moved": '{"inputs": [{"name": "x", "shape": [1,2,2], "datatype": "UINT8", "data":}[1,2,3,4]]}',
}


@pytest.mark.parametrize("first", TREES.values(), ids=TREES.keys())
@pytest.mark.parametrize("second", TREES.values(), ids=TREES.keys())
@pytest.mark.parametrize("replaced", ["[1,2,3,4]", "[1,2,2]", "[1]", "[9]"])
def test_a_list_elsewhere_is_not_taken_for_the_data(first, second, replaced):
    known = first.encode()
    agree([(known, None), (second.encode(), None), (known.replace(replaced.encode(), b"[4,3,2,1]"), None)])


@given(st.lists(st.tuples(st.integers(0, 200), st.binary(max_size=2)), min_size=1, max_size=3))
def test_whatever_is_changed_in_a_known_request_it_is_read_as_if_it_were_the_first(changes):
    known = json.dumps(request(VALUES)).encode()
    body = known
    for place, content in changes:
        at = place % len(body)
        body = body[:at] + content + body[at + 1 :]
    agree([(known, None), (body, None), (known, None)])


@given(st.integers(1, 5), st.integers(-3, 3))
def test_bytes_behind_a_known_head_are_counted(rows, difference):
    size = {"binary_data_size": 4 * rows}
    tree = {"inputs": [{"name": "x", "shape": [rows, 2, 2], "datatype": "UINT8", "parameters": size}]}
    head = json.dumps(tree).encode()
    content = bytes(range(4 * rows))
    other = content[::-1] + bytes(max(difference, 0))
    agree([(head + content, len(head)), (head + other[: 4 * rows + difference], len(head)), (head, len(head))])


def test_a_text_with_a_gap_is_no_head():
    known = json.dumps(request(VALUES)).encode()
    gap = known.replace(b"[1, 2, 3, 4]", b"\0")
    agree([(known, None), (gap + bytes(VALUES), len(gap))])


def test_wide_numbers_are_aligned_whenever_they_come():
    size = {"binary_data_size": 16}
    tree = {"inputs": [{"name": "x", "shape": [2, 2], "datatype": "FP32", "parameters": size}]}
    head = json.dumps(tree).encode()
    head += b" " * (3 - len(head) % 4)  # so that the numbers begin between their places
    cache = RequestCache(WIDE, OUTPUTS)
    for values in ([[1, 2], [3, 4]], [[5, 6], [7, 8]]):
        array = cache.parse(head + np.array(values, "<f4").tobytes(), len(head), MAX_ROWS).inputs["x"]
        assert array.flags.aligned
        assert array.tolist() == values


def test_more_kinds_of_requests_than_are_remembered_are_read():
    notes = [*range(3 * MAX_ENTRIES), 0, "long" * 1000, "long" * 1000]
    agree([(json.dumps(request(VALUES, note=note)).encode(), None) for note in notes])
