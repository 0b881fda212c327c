"""gRPC codec: converts protobuf messages to inference requests, and outputs to protobuf messages."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from serving.errors import InvalidRequestError
from serving.protocol.inference_pb2 import ModelInferRequest, ModelInferResponse
from serving.protocol.json_request import InferenceRequest, check_offered, parse_tree
from serving.protocol.tensors import Array, Specs

# Field of InferTensorContents for the values of each datatype; FP16 has none.
CONTENTS: Mapping[str, str] = {
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
}


def parse_message(message: ModelInferRequest, inputs: Specs, outputs: Specs, max_rows: int) -> InferenceRequest:
    """Parse an inference request for a model with this signature. The outputs are raw if the inputs are.

    Args:
        message: the request.
        inputs: the model's inputs by name.
        outputs: the model's outputs by name.
        max_rows: largest batch.

    Raises:
        InvalidRequestError: the message does not follow the protocol or does not fit the signature.
    """
    blobs = message.raw_input_contents
    if len(message.inputs) != len(inputs):
        # Checked first, because a message within the size limit may have millions of inputs.
        raise InvalidRequestError(f"inputs must be a list of exactly: {', '.join(inputs)}")
    if blobs and len(blobs) != len(inputs):
        raise InvalidRequestError("raw_input_contents must have all inputs or none")
    for options in (tensor.parameters for tensors in (message.inputs, message.outputs) for tensor in tensors):
        check_offered(options)
    tensors = [
        {
            "name": tensor.name,
            "datatype": tensor.datatype,
            "shape": list(tensor.shape),
            **(_raw(tensor, blobs[number]) if blobs else _typed(tensor)),
        }
        for number, tensor in enumerate(message.inputs)
    ]
    if len(message.outputs) > len(outputs):
        raise InvalidRequestError(f"outputs must be a list of some of: {', '.join(outputs)}")
    tree = {
        "id": message.id or None,
        "inputs": tensors,
        "outputs": [{"name": output.name} for output in message.outputs],
        "parameters": {"binary_data_output": bool(blobs)},
    }
    binary = memoryview(blobs[0] if len(blobs) == 1 else b"".join(blobs))
    return parse_tree(tree, binary, inputs, outputs, max_rows)


def build_response(
    model_name: str, model_version: int, request: InferenceRequest, arrays: Mapping[str, Array], outputs: Specs
) -> ModelInferResponse:
    """Return the response to `request`.

    Args:
        model_name: of the model that computed `arrays`.
        model_version: of the model that computed `arrays`.
        request: selects the outputs and their form.
        arrays: the computed outputs by name.
        outputs: the model's outputs by name.

    Raises:
        InvalidRequestError: an output has a datatype that is only available as raw contents.
    """
    response = ModelInferResponse(model_name=model_name, model_version=str(model_version), id=request.id or "")
    for name, is_binary in request.outputs.items():
        spec = outputs[name]
        array = np.ascontiguousarray(arrays[name], spec.dtype)
        tensor = response.outputs.add(name=spec.name, datatype=spec.datatype, shape=array.shape)
        if is_binary:
            response.raw_output_contents.append(array.tobytes())
        elif spec.datatype in CONTENTS:
            getattr(tensor.contents, CONTENTS[spec.datatype]).extend(array.ravel().tolist())
        else:
            raise InvalidRequestError(f"output {spec.name} is {spec.datatype}: send raw_input_contents for raw outputs")
    return response


def _raw(tensor: ModelInferRequest.InferInputTensor, blob: bytes) -> dict[str, Any]:
    if tensor.HasField("contents"):
        raise InvalidRequestError("an input has both contents and raw_input_contents")
    return {"parameters": {"binary_data_size": len(blob)}}


def _typed(tensor: ModelInferRequest.InferInputTensor) -> dict[str, Any]:
    if tensor.datatype not in CONTENTS:
        raise InvalidRequestError("an input has a datatype that can only be sent in raw_input_contents")
    return {"data": list(getattr(tensor.contents, CONTENTS[tensor.datatype]))}
