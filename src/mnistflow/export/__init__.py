"""Export: from a trained model to a checked ONNX file. Imports `learners`, `tasks`, `runtime`, `data`."""
