"""Model metadata in the form of the protocol, and model configuration in the form of Triton."""

from collections.abc import Sequence
from typing import Any

from serving.protocol.tensors import Specs, TensorSpec

PLATFORM = "onnxruntime_onnx"


def describe_model(name: str, versions: Sequence[int], inputs: Specs, outputs: Specs) -> dict[str, Any]:
    """Return a model's metadata as the protocol defines it."""
    return {
        "name": name,
        "versions": [str(version) for version in versions],
        "platform": PLATFORM,
        "inputs": [_metadata_tensor(spec) for spec in inputs.values()],
        "outputs": [_metadata_tensor(spec) for spec in outputs.values()],
    }


def describe_configuration(
    name: str, version: int | None, inputs: Specs, outputs: Specs, max_rows: int
) -> dict[str, Any]:
    """Return a model's configuration as Triton defines it, and as `config.pbtxt` in the repository has it.

    Args:
        name: of the model.
        version: that serves; None if none does.
        inputs: the model's inputs by name.
        outputs: the model's outputs by name.
        max_rows: largest batch.
    """
    return {
        "name": name,
        "platform": PLATFORM,
        "backend": "onnxruntime",
        "version_policy": {"specific": {"versions": [] if version is None else [version]}},
        "max_batch_size": max_rows,
        "input": [_configuration_tensor(spec) for spec in inputs.values()],
        "output": [_configuration_tensor(spec) for spec in outputs.values()],
        "dynamic_batching": {"max_queue_delay_microseconds": 0},
    }


def _metadata_tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype, "shape": spec.shape}


def _configuration_tensor(spec: TensorSpec) -> dict[str, Any]:
    tensor = {"name": spec.name, "data_type": f"TYPE_{spec.datatype}", "dims": spec.shape[1:]}
    # Triton knows no tensor without dimensions besides that of the batch.
    return tensor if tensor["dims"] else {**tensor, "dims": (1,), "reshape": {"shape": ()}}
