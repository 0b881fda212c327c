"""JSON requests and responses of the protocol: parsing, validation and serialisation."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from serving.errors import InvalidRequestError
from serving.protocol.json_request import InferenceRequest, parse_request
from serving.protocol.json_response import serialise_response
from serving.protocol.tensors import DTYPES, TensorSpec

NUMBERS = {"x": TensorSpec("x", "INT16", (-1, 2, 3)), "y": TensorSpec("y", "FP32", (-1,))}
OUTPUTS = {"a": TensorSpec("a", "FP32", (-1, 2)), "b": TensorSpec("b", "INT64", (-1,))}

scalars = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
json_values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)


def parse(tree, rest=b"", inputs=NUMBERS, max_rows=100):
    header = json.dumps(tree).encode()
    return parse_request(header + rest, len(header) if rest else None, inputs, OUTPUTS, max_rows)


def tensor(name="x", datatype="INT16", shape=(1, 2, 3), **keys):
    return {"name": name, "datatype": datatype, "shape": list(shape), **keys}


def y(rows=1):
    return tensor("y", "FP32", (rows,), data=[0.5] * rows)


@given(arrays_of.arrays(np.int16, st.tuples(st.integers(1, 5), st.just(2), st.just(3))), st.booleans())
def test_flat_nested_and_binary_data_are_the_same_array(array, nested):
    data = array.tolist() if nested else array.ravel().tolist()
    as_json = parse({"inputs": [tensor(shape=array.shape, data=data), y(len(array))]})
    sized = tensor(shape=array.shape, parameters={"binary_data_size": array.nbytes})
    as_bytes = parse({"inputs": [y(len(array)), sized]}, array.astype("<i2").tobytes())

    assert np.array_equal(as_json.inputs["x"], array)
    assert np.array_equal(as_bytes.inputs["x"], array)
    assert as_json.inputs["x"].dtype == as_bytes.inputs["x"].dtype == np.int16


@pytest.mark.parametrize("datatype", [name for name in DTYPES if name[0] in "UI"])
def test_integers_reach_exactly_to_the_ends_of_their_range(datatype):
    specs = {"n": TensorSpec("n", datatype, (-1,))}
    limits = np.iinfo(DTYPES[datatype])
    ends = [int(limits.min), int(limits.max)]

    assert parse({"inputs": [tensor("n", datatype, (2,), data=ends)]}, inputs=specs).inputs["n"].tolist() == ends
    for beyond in (ends[0] - 1, ends[1] + 1):
        with pytest.raises(InvalidRequestError):
            parse({"inputs": [tensor("n", datatype, (1,), data=[beyond])]}, inputs=specs)


def test_integers_may_be_written_with_a_point():
    specs = {"n": TensorSpec("n", "INT64", (-1,))}

    def read(*values):
        return parse({"inputs": [tensor("n", "INT64", (len(values),), data=values)]}, inputs=specs).inputs["n"]

    assert read(7.0, -3, 2**62).tolist() == [7, -3, 2**62]
    for wrong in (0.5, 1e19, 2.0**60, True):
        with pytest.raises(InvalidRequestError):
            read(7.0, wrong)


def test_pixels_are_whole_numbers_of_a_byte_however_they_are_written():
    specs = {"n": TensorSpec("n", "UINT8", (-1,))}

    def read(*values):
        return parse({"inputs": [tensor("n", "UINT8", (len(values),), data=values)]}, inputs=specs).inputs["n"]

    assert read(0, 7, 255).tolist() == read(0.0, 7.0, 255).tolist() == [0, 7, 255]
    for wrong in (True, False, 256, -1, 256.0, 0.5, None, "7", 10**30):
        with pytest.raises(InvalidRequestError):
            read(7, wrong)


def test_floats_take_integers_and_refuse_what_overflows():
    assert parse({"inputs": [tensor(data=[0] * 6), tensor("y", "FP32", (1,), data=[3])]}).inputs["y"].tolist() == [3.0]
    with pytest.raises(InvalidRequestError, match="out of the range of FP32"):
        parse({"inputs": [tensor(data=[0] * 6), tensor("y", "FP32", (1,), data=[1e39])]})


BAD_DATA = {
    "nested wrongly": [[[1, 2], [3, 4], [5, 6]]],
    "ragged": [[[1, 2, 3], [4, 5]]],
    "half nested": [[1, 2, 3, 4, 5, 6]],
    "nested too deep": [[[[1], [2], [3]], [[4], [5], [6]]]],
    "a list among numbers": [1, 2, 3, 4, 5, [6]],
    "an object": {"0": 1},
    "text": "123456",
    "nothing": [],
}


@pytest.mark.parametrize("data", BAD_DATA.values(), ids=BAD_DATA)
def test_data_that_does_not_fit_its_shape_is_refused(data):
    with pytest.raises(InvalidRequestError, match="input x"):
        parse({"inputs": [tensor(data=data), y()]})


def test_more_rows_than_allowed_are_refused_before_their_data_is_looked_at():
    with pytest.raises(InvalidRequestError, match="at most 100 rows"):
        parse({"inputs": [tensor(shape=(101, 2, 3), data=None), y(101)]})


def test_inputs_have_to_agree_in_their_rows():
    with pytest.raises(InvalidRequestError, match="differ"):
        parse({"inputs": [tensor(shape=(2, 2, 3), data=[0] * 12), y(1)]})


@pytest.mark.hostile
@pytest.mark.parametrize("size", [0, 11, 13, -12, True, 12.0, "12", 2**63])
def test_a_binary_size_that_is_not_the_shapes_is_refused(size):
    with pytest.raises(InvalidRequestError):
        parse({"inputs": [y(), tensor(parameters={"binary_data_size": size})]}, bytes(12))


PARAMETERS = {"text": "a", "whole": 1, "real": 0.5, "flag": True}


@pytest.mark.parametrize("value", [None, [], [1], {}, {"a": 1}])
def test_parameters_are_strings_numbers_or_booleans(value):
    def read(of_request, of_input):
        return parse({"inputs": [y(), tensor(data=[0] * 6, parameters=of_input)], "parameters": of_request})

    assert read(PARAMETERS, PARAMETERS).inputs["x"].shape == (1, 2, 3)
    unusable: dict[str, Any] = PARAMETERS | {"x": value}
    cases: tuple[tuple[dict[str, Any], dict[str, Any]], ...] = ((unusable, {}), ({}, unusable))
    for wrong in cases:
        with pytest.raises(InvalidRequestError, match="strings, numbers or booleans"):
            read(*wrong)


@pytest.mark.hostile
@pytest.mark.parametrize("rest", [bytes(11), bytes(13)])
def test_missing_and_trailing_bytes_are_refused(rest):
    with pytest.raises(InvalidRequestError):
        parse({"inputs": [y(), tensor(parameters={"binary_data_size": 12})]}, rest)


def test_bytes_behind_the_json_without_its_length_say_which_header_is_missing():
    header = json.dumps({"inputs": [y(), tensor(parameters={"binary_data_size": 12})]}).encode()

    with pytest.raises(InvalidRequestError, match="Inference-Header-Content-Length"):
        parse_request(header + bytes(12), None, NUMBERS, OUTPUTS, 100)


def test_a_body_without_json_is_the_single_input_and_is_answered_in_binary():
    spec = {"x": TensorSpec("x", "INT16", (-1, 3))}
    array = np.arange(6, dtype=np.int16).reshape(2, 3)

    request = parse_request(array.tobytes(), 0, spec, OUTPUTS, 100)

    assert np.array_equal(request.inputs["x"], array)
    assert request.outputs == {"a": True, "b": True}
    with pytest.raises(InvalidRequestError, match="multiple of 6"):
        parse_request(array.tobytes() + b"\0", 0, spec, OUTPUTS, 100)


@pytest.mark.parametrize(
    ("asked", "by_default", "expected"),
    [
        (None, False, [("a", False), ("b", False)]),
        (None, True, [("a", True), ("b", True)]),
        ([], False, [("a", False), ("b", False)]),
        ([{"name": "b"}, {"name": "a"}], False, [("b", False), ("a", False)]),
        ([{"name": "b", "parameters": {"binary_data": False}}], True, [("b", False)]),
        ([{"name": "b", "parameters": {"binary_data": True}}], False, [("b", True)]),
    ],
)
def test_outputs_are_those_asked_for_in_the_form_asked_for(asked, by_default, expected):
    tree = {"inputs": [tensor(data=[0] * 6), y()], "parameters": {"binary_data_output": by_default}, "outputs": asked}

    assert list(parse(tree).outputs.items()) == expected


def test_an_answer_holds_json_and_bytes_side_by_side():
    arrays: dict[str, np.ndarray] = {"a": np.array([[0.25, 0.75]], np.float32), "b": np.array([7], np.int64)}
    request = InferenceRequest("q", {}, {"b": True, "a": False})

    answer = serialise_response("m", 3, request, arrays, OUTPUTS)

    assert json.loads(answer.body[: answer.header_length]) == {
        "model_name": "m",
        "model_version": "3",
        "id": "q",
        "outputs": [
            {"name": "b", "datatype": "INT64", "shape": [1], "parameters": {"binary_data_size": 8}},
            {"name": "a", "datatype": "FP32", "shape": [1, 2], "data": [0.25, 0.75]},
        ],
    }
    assert answer.body[answer.header_length :] == (7).to_bytes(8, "little")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_what_json_has_no_number_for_is_not_passed_off_as_null(datatype, value):
    outputs = {"a": TensorSpec("a", datatype, (-1, 2))}
    arrays = {"a": np.array([[value, 1]], outputs["a"].dtype)}
    request = InferenceRequest(None, {}, {"a": False})

    with pytest.raises(InvalidRequestError, match="binary"):
        serialise_response("m", 3, request, arrays, outputs)


@given(json_values)
@settings(max_examples=300)
def test_any_json_is_read_or_refused_with_one_error(value):
    for tree in (value, {"inputs": value}, {"inputs": [value, value]}, {"inputs": [tensor(data=value), y()]}):
        with pytest.raises(InvalidRequestError):
            parse(tree)


@given(st.binary(max_size=200), st.none() | st.integers(0, 300))
@settings(max_examples=300)
def test_any_bytes_are_read_or_refused_with_one_error(body, header_length):
    with pytest.raises(InvalidRequestError):
        parse_request(body, header_length, NUMBERS, OUTPUTS, 100)
