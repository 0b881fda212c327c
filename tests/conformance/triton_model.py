"""Model of Triton's Python backend: runs the `model.onnx` beside it, each batch that Triton forms as a whole.

https://github.com/triton-inference-server/python_backend
"""

import json
from pathlib import Path

import numpy as np
import onnxruntime
import triton_python_backend_utils as triton


class TritonPythonModel:
    def initialize(self, arguments):
        config = json.loads(arguments["model_config"])
        self._inputs, self._outputs = ([tensor["name"] for tensor in config[kind]] for kind in ("input", "output"))
        file = Path(arguments["model_repository"]) / arguments["model_version"] / "model.onnx"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])

    def execute(self, requests):
        def array(request, name):
            return triton.get_input_tensor_by_name(request, name).as_numpy()

        batch = {name: np.concatenate([array(request, name) for request in requests]) for name in self._inputs}
        ends = np.cumsum([len(array(request, self._inputs[0])) for request in requests])[:-1]
        columns = [np.split(values, ends) for values in self._session.run(self._outputs, batch)]
        return [
            triton.InferenceResponse(
                [triton.Tensor(name, part) for name, part in zip(self._outputs, parts, strict=True)]
            )
            for parts in zip(*columns, strict=True)
        ]
