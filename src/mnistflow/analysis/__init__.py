"""Analysis: runs and versions side by side, for the leaderboard, sweeps and notebooks.

Imports `config`, `registry`, `evaluation`, `tracking`, `tasks`, `data`.
"""
