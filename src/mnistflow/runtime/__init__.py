"""Runtime: Keras backends, threads, batches, and onnxruntime sessions. Imports no other folder."""
