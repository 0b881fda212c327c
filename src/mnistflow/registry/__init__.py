"""Registry: versions, the gate, promotion, the model repository, and their status.

Imports `evaluation`, `tracking`, `tasks`, `data`.
"""
