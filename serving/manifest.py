"""Manifest of a published version: `model.json`, parsed and checked as `schemas/model.schema.json` defines it."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast, get_args

import orjson

from serving.doubt import Doubt
from serving.errors import ModelRefusedError
from serving.images.mode import Mode
from serving.protocol.tensors import DTYPES, TensorSpec

SCHEMA_VERSION = 1
MAX_VERSION = 999_999_999
NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")
SHA256 = re.compile(r"[0-9a-f]{64}")
# Versions published before model.json had `preprocessing`: the data sets whose pictures are cropped and centred.
DIGIT_DATASETS = ("mnist", "digits")
DOUBT_FIELDS = ("coverage", "set_threshold", "refusal_threshold")
# Texts that the schema defines and serving does not use.
OTHER_TEXTS = ("data_sha256", "run_id", "git_commit", "mnistflow_version")


@dataclass(frozen=True, slots=True)
class Manifest:
    """The fields of `model.json` that serving uses.

    Attributes:
        classes: meaning of each output, or of each value of a generator's input `class`; empty for a model that
            predicts numbers.
        inputs: at least one.
        outputs: at least one.
        sha256: hexadecimal, of model.onnx.
        preprocessing: `digit` or `plain`, how a picture of any size becomes an input.
        created: ISO 8601; empty when model.json does not have it.
        doubt: None when model.json does not have it.
    """

    name: str
    version: int
    task: str
    dataset: str
    classes: tuple[str, ...]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    sha256: str
    preprocessing: Mode
    metrics: Mapping[str, float]
    created: str
    doubt: Doubt | None


def parse_manifest(content: bytes) -> Manifest:
    """Parse the content of a `model.json`.

    Raises:
        ModelRefusedError: it is not valid against the schema, or has a version of the schema that is not known here.
    """
    try:
        tree = orjson.loads(content)
    except ValueError:
        raise ModelRefusedError("model.json is not valid JSON") from None
    try:
        dataset = _text(tree["dataset"])
        if not _is_number(tree.get("schema_version", SCHEMA_VERSION)) or tree.get("schema_version", 1) != 1:
            raise ModelRefusedError("model.json has a schema_version that this server does not know")
        for name in OTHER_TEXTS:
            _text(tree.get(name, ""))
        return Manifest(
            name=_matching(NAME, tree["name"]),
            version=_whole(tree["version"], 1, MAX_VERSION),
            task=_text(tree["task"]),
            dataset=dataset,
            classes=tuple(map(_text, _list(tree.get("classes", [])))),
            inputs=_specs(tree["inputs"]),
            outputs=_specs(tree["outputs"]),
            sha256=_matching(SHA256, tree["sha256"]),
            preprocessing=_mode(tree.get("preprocessing", "digit" if dataset in DIGIT_DATASETS else "plain")),
            metrics={name: _number(value) for name, value in tree.get("metrics", {}).items()},
            created=_text(tree.get("created", "")),
            doubt=_doubt(tree["doubt"]) if "doubt" in tree else None,
        )
    except KeyError as error:
        raise ModelRefusedError(f"model.json does not match its schema: {error.args[0]} is missing") from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelRefusedError("model.json does not match its schema: a value has the wrong type") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("not a string")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("not an array")
    return value


def _matching(pattern: re.Pattern[str], value: Any) -> str:
    if not pattern.fullmatch(_text(value)):
        raise ValueError("not of the form that the schema asks for")
    return _text(value)


def _mode(value: Any) -> Mode:
    if value not in get_args(Mode):
        raise ValueError("not a preprocessing mode")
    return cast(Mode, value)


def _doubt(fields: Any) -> Doubt:
    shares = {name: _share(fields[name]) for name in (*DOUBT_FIELDS, "false_refusals")}
    return Doubt(**{name: shares[name] for name in DOUBT_FIELDS})


def _share(value: Any) -> float:
    if not 0 <= _number(value) <= 1:
        raise ValueError("not a share")
    return _number(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _number(value: Any) -> float:
    if not _is_number(value):
        raise TypeError("not a number")
    return float(value)


def _whole(value: Any, minimum: float = -math.inf, maximum: float = math.inf) -> int:
    """Return a JSON integer; JSON Schema counts 3.0 among them."""
    if not _is_number(value) or value != int(value) or not minimum <= value <= maximum:
        raise TypeError("not an integer in range")
    return int(value)


def _specs(entries: Any) -> tuple[TensorSpec, ...]:
    if not _list(entries):
        raise ModelRefusedError("model.json needs at least one input and one output")
    return tuple(map(_spec, entries))


def _spec(entry: Any) -> TensorSpec:
    if entry["datatype"] not in DTYPES:
        raise ModelRefusedError("model.json has a datatype that is not supported")
    shape = tuple(map(_whole, _list(entry["shape"])))
    if not shape or shape[0] != -1 or any(size < 1 and size != -1 for size in shape):
        raise ModelRefusedError("model.json has a shape whose first dimension is not the batch (-1)")
    return TensorSpec(_text(entry["name"]), entry["datatype"], shape)
