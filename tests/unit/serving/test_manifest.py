"""The contract of model.json: the server reads what the schema allows, and refuses what the schema forbids."""

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from serving.errors import ModelRefusedError
from serving.manifest import parse_manifest
from serving.protocol.tensors import DTYPES

SCHEMA = json.loads((Path(__file__).parents[3] / "schemas/model.schema.json").read_text(encoding="utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA)
VALID: dict[str, Any] = {
    "schema_version": 1,
    "name": "mnist-classifier",
    "version": 3,
    "task": "image_classification",
    "dataset": "mnist",
    "classes": ["0", "1"],
    "inputs": [{"name": "images", "datatype": "UINT8", "shape": [-1, 28, 28]}],
    "outputs": [{"name": "probabilities", "datatype": "FP32", "shape": [-1, 2]}],
    "preprocessing": "digit",
    "sha256": "0" * 64,
    "data_sha256": "1" * 64,
    "metrics": {"accuracy": 0.99, "errors": 100},
    "doubt": {"coverage": 0.99, "set_threshold": 0.01, "false_refusals": 0.01, "refusal_threshold": 0.5},
    "run_id": "f" * 32,
    "git_commit": "unknown",
    "created": "2026-01-01T00:00:00+00:00",
    "mnistflow_version": "1.0",
}
VALUES: tuple[Any, ...] = (
    None,
    True,
    0,
    1,
    -1,
    2,
    0.5,
    1.5,
    3.0,
    10**10,
    "",
    "digit",
    "plain",
    "a b",
    "0" * 64,
    [],
    [1],
    ["0"],
    {},
    {"x": 1},
)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Return the path of every value of a document."""
    yield path
    keys = value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield from places(value[key], (*path, key))


def replaced(path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    document = copy.deepcopy(VALID)
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    parent[path[-1]] = value
    return document


def removed(path: tuple[Any, ...]) -> Any:
    document = copy.deepcopy(VALID)
    parent = document
    for key in path[:-1]:
        parent = parent[key]
    del parent[path[-1]]
    return document


DOCUMENTS = [
    VALID,
    {**VALID, "unknown": {"to": "servers"}},
    *(replaced(path, value) for path in places(VALID) for value in VALUES),
    *(removed(path) for path in places(VALID) if path),
    *(replaced(("inputs", 0, "datatype"), datatype) for datatype in (*DTYPES, "BOOL", "uint8")),
    *(replaced(("outputs", 0, "shape"), shape) for shape in ([-1], [-1, -1], [-1, 0], [-1, -2], [1, 2], [-1, 2.0])),
    {**VALID, "outputs": VALID["outputs"] * 2},
    {**VALID, "inputs": VALID["inputs"] * 2},
]


def test_the_schema_is_itself_valid() -> None:
    Draft202012Validator.check_schema(SCHEMA)


def test_every_field_of_the_schema_is_described_and_tried() -> None:
    assert SCHEMA["properties"].keys() == VALID.keys()
    assert all(field["description"] for field in SCHEMA["properties"].values())


def test_the_server_reads_what_the_schema_allows_and_refuses_the_rest() -> None:
    allowed = [document for document in DOCUMENTS if VALIDATOR.is_valid(document)]
    assert len(allowed) > 100
    assert len(DOCUMENTS) - len(allowed) > 400
    for document in DOCUMENTS:
        if VALIDATOR.is_valid(document):
            parse_manifest(json.dumps(document).encode())
        else:
            with pytest.raises(ModelRefusedError):
                parse_manifest(json.dumps(document).encode())


@pytest.mark.parametrize("name", SCHEMA["required"])
def test_a_missing_field_is_named(name: str) -> None:
    with pytest.raises(ModelRefusedError, match=f"schema: {name} is missing"):
        parse_manifest(json.dumps(removed((name,))).encode())


@pytest.mark.parametrize(("dataset", "preprocessing"), [("mnist", "digit"), ("digits", "digit"), ("letters", "plain")])
def test_versions_published_before_the_field_get_their_preprocessing_by_their_data_set(
    dataset: str, preprocessing: str
) -> None:
    document = {**removed(("preprocessing",)), "dataset": dataset}
    assert parse_manifest(json.dumps(document).encode()).preprocessing == preprocessing
