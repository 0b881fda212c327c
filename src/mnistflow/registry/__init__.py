"""Registry: versions, the gate, promotion, the model repository, and views of them.

Imports `evaluation`, `tracking`, `tasks`, `data`.
"""
