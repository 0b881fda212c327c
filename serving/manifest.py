"""Manifest of a published version: `model.json`, parsed and checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from serving.errors import ModelRefusedError
from serving.images.mode import Mode, parse_mode
from serving.protocol.tensors import DTYPES, TensorSpec

# Data sets whose images are cropped and centred the way MNIST's are, when model.json does not say.
DIGIT_DATASETS = ("mnist", "digits")


@dataclass(frozen=True, slots=True)
class Manifest:
    """What `model.json` says of a version, as far as serving needs it."""

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


def parse_manifest(content: bytes) -> Manifest:
    """Parse the content of a `model.json`.

    Raises:
        ModelRefusedError: it does not follow the contract.
    """
    try:
        tree = orjson.loads(content)
    except ValueError:
        raise ModelRefusedError("model.json is no JSON") from None
    try:
        dataset = _text(tree["dataset"])
        return Manifest(
            name=_text(tree["name"]),
            version=int(tree["version"]),
            task=_text(tree["task"]),
            dataset=dataset,
            classes=tuple(_text(name) for name in tree.get("classes", ())),
            inputs=tuple(_spec(entry) for entry in tree["inputs"]),
            outputs=tuple(_spec(entry) for entry in tree["outputs"]),
            sha256=_text(tree["sha256"]),
            preprocessing=parse_mode(
                _text(tree.get("preprocessing", "digit" if dataset in DIGIT_DATASETS else "plain"))
            ),
            metrics={name: float(value) for name, value in tree.get("metrics", {}).items() if _is_number(value)},
            created=_text(tree.get("created", "")),
        )
    except KeyError as error:
        raise ModelRefusedError(f"model.json does not keep the contract: {error.args[0]} is missing") from error
    except (TypeError, ValueError, AttributeError, OverflowError) as error:
        raise ModelRefusedError("model.json does not keep the contract: a value is of the wrong kind") from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError("a text is something else")
    return value


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _spec(entry: Any) -> TensorSpec:
    if entry["datatype"] not in DTYPES:
        raise ModelRefusedError("model.json has a datatype that is not served")
    shape = tuple(int(size) for size in entry["shape"])
    if not shape or shape[0] != -1 or any(size < 1 and size != -1 for size in shape):
        raise ModelRefusedError("model.json has a shape whose first dimension is no batch")
    return TensorSpec(_text(entry["name"]), entry["datatype"], shape)
