"""Saves MODEL_FILE as `mlflow models serve` takes it: `python mlflow_model.py FOLDER`."""

import os
import sys

import mlflow
import numpy as np
import onnx
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

mlflow.onnx.save_model(
    onnx.load(os.environ["MODEL_FILE"]),
    sys.argv[1],
    signature=ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("uint8"), (-1, 28, 28), "images")]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1, 10), "probabilities")]),
    ),
    onnx_execution_providers=["CPUExecutionProvider"],
    onnx_session_options={
        "intra_op_num_threads": 1,
        "extra_session_config": {"session.intra_op.allow_spinning": "0"},
    },
    save_as_external_data=False,
    pip_requirements=[],  # it is served from the environment that saves it
)
