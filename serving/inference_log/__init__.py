"""Inference log: a sample of images with their predictions, and feedback on them, in a database.

Imports `engine` and `protocol`.
"""
