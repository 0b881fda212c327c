"""Registry: versions, rollouts, the gate, promotion, the model repository, and their status.

Imports `server_client`, `evaluation`, `tracking`, `tasks`, `data`.
"""
