"""Evaluation: metrics, speed and robustness of the ONNX file on the test split. Imports `tasks` and `runtime`."""
