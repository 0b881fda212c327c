"""The session of onnxruntime that each peer gets: set up as this project's own server sets up its."""

import os

import onnxruntime


def open_session() -> onnxruntime.InferenceSession:
    """Open the model that MODEL_FILE names: one thread that does not spin, for there is one core."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(os.environ["MODEL_FILE"], options, providers=["CPUExecutionProvider"])
