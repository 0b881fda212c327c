"""Runtime: the library that Keras computes with, its threads, batches, and onnxruntime sessions.

Imports no other folder.
"""
