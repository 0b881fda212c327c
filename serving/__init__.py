"""A prediction server for the ONNX models of a model repository."""

import os

# onnxruntime reports that and where it runs from the moment it is imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
