"""Manifest of a version: what `model.json` tells servers, as `schemas/model.schema.json` defines it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from mnistflow.data.entry import Preprocessing

if TYPE_CHECKING:
    from mnistflow.tasks.doubt import Doubt
    from mnistflow.tasks.task import Signature, TensorType

SCHEMA_VERSION = 1
_DATATYPES = {"uint8": "UINT8", "float32": "FP32", "int64": "INT64"}


@dataclass(frozen=True)
class Tensor:
    """A tensor as the Open Inference Protocol describes it.

    Attributes:
        datatype: such as `UINT8` or `FP32`.
        shape: size of each dimension; the first is the batch, -1.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Return the tensor as plain values."""
        return {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """Facts about a model that its version keeps; the number of the version is added once the registry has given it.

    Attributes:
        name: registered name of the model.
        task: name of what it has learned.
        classes: meaning of each output, or of each value of input `class` of a generator; empty for a model that
            predicts numbers.
        preprocessing: how a server turns a picture of any size into an input.
        sha256: hexadecimal, of the ONNX file.
        data_sha256: hexadecimal, of all splits.
        metrics: on the test split, by their names.
        doubt: thresholds of prediction sets and refusals; None for a model without class probabilities.
        run_id: MLflow run that has trained the model.
        created: ISO 8601, UTC.
    """

    name: str
    task: str
    dataset: str
    classes: tuple[str, ...]
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    preprocessing: Preprocessing
    sha256: str
    data_sha256: str
    metrics: Mapping[str, float]
    run_id: str
    git_commit: str
    created: str
    mnistflow_version: str
    doubt: Doubt | None

    def to_json(self) -> dict[str, Any]:
        """Return the manifest as plain values, with the version of the schema."""
        fields = {name: value for name, value in asdict(self).items() if value is not None}
        return {
            "schema_version": SCHEMA_VERSION,
            **fields,
            "classes": list(self.classes),
            "inputs": [tensor.to_json() for tensor in self.inputs],
            "outputs": [tensor.to_json() for tensor in self.outputs],
        }


def tensors(signature: Signature) -> dict[str, tuple[Tensor, ...]]:
    """Return `inputs` and `outputs` of a model with this signature."""
    return {"inputs": tuple(map(_tensor, signature.inputs)), "outputs": (_tensor(signature.output),)}


def _tensor(one: TensorType) -> Tensor:
    return Tensor(one.name, _DATATYPES[one.dtype], (-1, *one.shape))


def to_publish(model_json: Mapping[str, Any], sha256: str) -> dict[str, Any]:
    """Return the content of `model.json` for a registered version.

    Versions that were registered before the schema had these fields get `schema_version` and `preprocessing` here.

    Args:
        model_json: what the version keeps, with its number.
        sha256: of the published file, which servers check: of older versions, MLflow has written the graph anew.
    """
    from mnistflow.data import catalog

    entry = catalog.described(model_json["dataset"], tuple(model_json["classes"]))
    return {
        "schema_version": SCHEMA_VERSION,
        "preprocessing": entry.preprocessing,
        **model_json,
        "sha256": sha256,
    }
