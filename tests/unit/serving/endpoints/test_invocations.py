"""Rows of /invocations: which value belongs to which column, and how much is read of a body beyond the limits."""

import json

import pytest

from serving.endpoints.invocations import CSV, parse_rows
from serving.errors import InvalidRequestError
from serving.protocol.tensors import TensorSpec

SPEC = TensorSpec("x", "FP32", (-1, 3))
MAX_ROWS = 4


def rows(body, media_type="application/json", spec=SPEC):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return parse_rows(content, media_type, spec, MAX_ROWS).tolist()


def test_values_of_records_follow_the_order_of_the_first():
    records = [{"a": 1, "b": 2, "c": 3}, {"c": 6, "a": 4, "b": 5}]

    assert rows({"dataframe_records": records}) == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    "other", [{"a": 4, "b": 5}, {"a": 4, "b": 5, "d": 6}, {"a": 4, "b": 5, "c": 6, "d": 7}, {}, [4, 5, 6], None]
)
def test_records_with_other_keys_are_refused(other):
    for records in ([{"a": 1, "b": 2, "c": 3}, other], [other, {"a": 1, "b": 2, "c": 3}]):
        with pytest.raises(InvalidRequestError, match="record"):
            rows({"dataframe_records": records})


@pytest.mark.parametrize("columns", [["a", "b", "c"], None])
def test_a_split_frame_may_name_its_columns(columns):
    assert rows({"dataframe_split": {"columns": columns, "data": [[1, 2, 3]]}}) == [[1, 2, 3]]
    assert rows({"dataframe_split": {"data": [[1, 2, 3]]}}) == [[1, 2, 3]]


@pytest.mark.parametrize("columns", [["a"], ["a", "b", "c", "d"], [], "abc", {"a": 0, "b": 1, "c": 2}])
def test_a_split_frame_has_a_value_for_each_column(columns):
    with pytest.raises(InvalidRequestError, match="columns"):
        rows({"dataframe_split": {"columns": columns, "data": [[1, 2, 3], [4, 5, 6]]}})


def test_a_value_of_a_column_may_be_a_whole_input():
    spec = TensorSpec("x", "FP32", (-1, 2, 2))
    inputs = [[[1, 2], [3, 4]], [[5, 6], [7, 8]]]

    assert rows({"dataframe_split": {"columns": ["x"], "data": [[value] for value in inputs]}}, spec=spec) == inputs
    assert rows({"dataframe_records": [{"x": value} for value in inputs]}, spec=spec) == inputs
    assert rows({"instances": [{"x": value} for value in inputs]}, spec=spec) == inputs


@pytest.mark.parametrize("values", [[1, 2], [[1], [2]], [[[1]], [[2]]]])
def test_rows_of_one_value_may_be_numbers(values):
    assert rows({"inputs": values}, spec=TensorSpec("x", "FP32", (-1,))) == [1, 2]
    assert rows({"dataframe_split": {"columns": ["a"], "data": values}}, spec=TensorSpec("x", "FP32", (-1,))) == [1, 2]


@pytest.mark.parametrize(
    "wrong", [[], [[]], [[[]]], [[1, 2]], [[1, 2, 3], []], [[1, 2, 3], 4], [[[1], [2, 3]]], [[1, 2, [3]]], [{}], [[{}]]]
)
def test_rows_of_another_form_are_refused(wrong):
    with pytest.raises(InvalidRequestError):
        rows({"inputs": wrong})


def lines(count, row="1,2,3"):
    return ("a,b,c\n" + f"{row}\n" * count).encode()


def test_blank_lines_of_a_csv_are_no_rows():
    assert len(rows(b"a,b,c\n\n1,2,3\n\n\n" + b"1,2,3\n" * (MAX_ROWS - 1) + b"\n\n", CSV)) == MAX_ROWS


def test_a_csv_is_not_read_beyond_its_limits():
    assert len(rows(lines(MAX_ROWS), CSV)) == MAX_ROWS
    # Reading what is behind the row or value that is too many would give another error.
    with pytest.raises(InvalidRequestError, match=f"at most {MAX_ROWS} rows"):
        rows(lines(MAX_ROWS + 1) + b"no number\n", CSV)
    with pytest.raises(InvalidRequestError, match=f"at most {MAX_ROWS} rows"):
        rows(lines(100_000) + b"\xff", CSV)
    with pytest.raises(InvalidRequestError, match="must have 3 values"):
        rows(lines(1, "1,2,3,4,no number"), CSV)


@pytest.mark.parametrize("form", ["dataframe_records", "instances", "inputs", "dataframe_split"])
def test_rows_that_are_too_many_are_not_looked_at(form):
    many = [{"x": [1, 2, 3]}] * MAX_ROWS + ["no row"]
    value = {"columns": 1, "data": many} if form == "dataframe_split" else many
    with pytest.raises(InvalidRequestError, match=f"at most {MAX_ROWS} rows"):
        rows({form: value})
