"""Inference log: a sample of requests and responses, and feedback on them, in a database.

Imports `engine` and `protocol`.
"""
