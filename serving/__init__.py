"""Prediction server for the ONNX models of a model repository. Imports neither the pipeline nor the training stack."""

import os

# onnxruntime reports that and where it runs from the moment it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
