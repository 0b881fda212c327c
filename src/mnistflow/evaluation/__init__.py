"""Evaluation: metrics of the ONNX file on the test split. Imports `tasks`, `runtime`, `data`."""
